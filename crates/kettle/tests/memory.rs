//! Lack of memory is an error at the call. One test, since the limit is the whole session's.

mod support;

use kettle::pipe::SendError;
use kettle::{Array, Bytes, Lock, PutError, Queue, StartError};
use support::watchdog;

kettle::init_in_tests!();

kettle::task! {
    fn len(bytes: Vec<u8>) -> usize {
        bytes.len()
    }

    fn zeros(count: usize) -> Vec<u8> {
        vec![0; count]
    }
}

const LIMIT: u64 = 8 << 20;
const TOO_MUCH: usize = 16 << 20;

#[test]
fn lack_of_memory_is_an_error_at_the_call() {
    let _dog = watchdog();
    kettle::session::set_limit(Some(LIMIT)).unwrap();
    let queue = Queue::new().unwrap();
    // As bytes of the message, and as a block beside it.
    match queue.put((vec![1u8; TOO_MUCH], Bytes::default())) {
        Err(PutError::OutOfMemory((item, _), e)) => {
            assert_eq!(item.len(), TOO_MUCH);
            assert!(e.to_string().contains("limit"), "{e}");
        }
        other => panic!("{other:?}"),
    }
    let e = queue.put((vec![], Bytes::from(vec![1; TOO_MUCH]))).unwrap_err();
    assert!(matches!(e, PutError::OutOfMemory(..)), "{e}");
    assert!(e.to_string().contains("limit"), "{e}");
    assert_eq!(e.into_inner().1.len(), TOO_MUCH);
    assert!(Array::<u64>::zeroed(TOO_MUCH).is_err());
    assert!(matches!(len::start(vec![1; TOO_MUCH]), Err(StartError::OutOfMemory(_))));
    let (_ours, theirs) = kettle::pipe::<Vec<u8>, Vec<u8>>().unwrap();
    assert!(matches!(theirs.send(vec![1; TOO_MUCH]), Err(SendError::OutOfMemory(..))));
    // A result that does not fit is told as well.
    let e = zeros::start(TOO_MUCH).unwrap().join().unwrap_err();
    assert!(e.to_string().contains("limit"), "{e}");

    // Whatever fits goes on as before.
    queue.put((vec![1; 1000], Bytes::from(vec![2; 100_000]))).unwrap();
    assert_eq!(queue.get().unwrap().1.len(), 100_000);
    assert_eq!(*Lock::new(3).unwrap().acquire().unwrap(), 3);
    assert_eq!(len::start(vec![1; 1000]).unwrap().join().unwrap(), 1000);
    assert_eq!(kettle::session::statistics().unwrap().limit, Some(LIMIT));

    // A full queue of a bounded arena is emptied and filled again.
    for _ in 0..3 {
        let mut put = 0;
        while queue.put((vec![], Bytes::from(vec![3; 1 << 20]))).is_ok() {
            put += 1;
        }
        assert!(put >= 4, "{put}");
        (0..put).for_each(|_| assert_eq!(queue.get().unwrap().1.len(), 1 << 20));
    }
}
