//! The outcomes of consecutive tasks.

use super::error::TaskError;

/// Most tasks return, so their results lie close together; failures stand beside them, with their places.
#[derive(Debug)]
pub(super) struct Chunk<R> {
    results: Vec<R>,
    /// Each failure with its index among all outcomes, ascending.
    failures: Vec<(usize, TaskError)>,
}

impl<R> Chunk<R> {
    pub(super) fn with_capacity(tasks: usize) -> Self {
        Self { results: Vec::with_capacity(tasks), failures: Vec::new() }
    }

    pub(super) fn push(&mut self, outcome: Result<R, TaskError>) {
        match outcome {
            Ok(result) => self.results.push(result),
            Err(failure) => self.failures.push((self.len(), failure)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.results.len() + self.failures.len()
    }

    pub(super) fn failures(&self) -> impl ExactSizeIterator<Item = &TaskError> {
        self.failures.iter().map(|(_, failure)| failure)
    }

    /// Appends all results to `all`, or returns the first failure.
    pub(super) fn append_to(mut self, all: &mut Vec<R>) -> Result<(), TaskError> {
        all.append(&mut self.results);
        self.first_failure().map_or(Ok(()), Err)
    }

    pub(super) fn first_failure(self) -> Option<TaskError> {
        self.failures.into_iter().next().map(|(_, failure)| failure)
    }

    /// Iterates over the outcomes in the order of the tasks.
    pub(super) fn into_outcomes(self) -> Outcomes<R> {
        Outcomes { place: 0, results: self.results.into_iter(), failures: self.failures.into_iter().peekable() }
    }
}

/// See [`Chunk::into_outcomes`].
#[derive(Debug)]
pub(super) struct Outcomes<R> {
    place: usize,
    results: std::vec::IntoIter<R>,
    failures: std::iter::Peekable<std::vec::IntoIter<(usize, TaskError)>>,
}

impl<R> Iterator for Outcomes<R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let failure = self.failures.next_if(|(place, _)| *place == self.place);
        self.place += 1;
        match failure {
            Some((_, failure)) => Some(Err(failure)),
            None => self.results.next().map(Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(of: &[Option<u32>]) -> Chunk<u32> {
        let mut chunk = Chunk::with_capacity(of.len());
        of.iter().for_each(|n| chunk.push(n.ok_or(TaskError::Cancelled { task: "t" })));
        chunk
    }

    #[test]
    fn outcomes_come_in_the_order_of_the_tasks() {
        for of in [&[Some(1), Some(2)][..], &[None, Some(1), None, None, Some(2)], &[None], &[]] {
            let chunk = chunk(of);
            assert_eq!((chunk.len(), chunk.failures().len()), (of.len(), of.iter().filter(|n| n.is_none()).count()));
            let outcomes: Vec<_> = chunk.into_outcomes().map(Result::ok).collect();
            assert_eq!(outcomes, of);
        }
    }

    #[test]
    fn a_failure_keeps_no_results() {
        let mut all = vec![0];
        chunk(&[Some(1), Some(2)]).append_to(&mut all).unwrap();
        assert_eq!(all, [0, 1, 2]);
        assert!(chunk(&[Some(3), None]).append_to(&mut all).is_err());
    }
}
