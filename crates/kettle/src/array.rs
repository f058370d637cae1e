//! Arrays that processes share.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use kettle_core::arena::Handle;
use kettle_core::shared::{Bytes, cell};
use kettle_core::sys::futex::Scope;

use crate::codec::by_token;
use crate::error::{OutOfMemory, expect_sound};
use crate::plain::Number;
use crate::session;

/// A fixed number of numbers that any process of the session may read and change.
///
/// Each element is read and changed in one step. Several of them belong together only under a lock:
/// [`read`](Self::read) and [`write`](Self::write) take and give many elements, but not all at the same instant.
///
/// ```
/// let squares = kettle::Array::from_slice(&[0u32, 1, 4])?;
/// squares.set(2, 9);
/// squares.fetch_add(0, 1);
/// assert_eq!(squares.to_vec(), [1, 1, 9]);
/// # Ok::<(), kettle::OutOfMemory>(())
/// ```
pub struct Array<T: Number> {
    body: Handle<Bytes>,
    /// As the first word told when this handle was made.
    len: usize,
    numbers: PhantomData<T>,
}

/// Plain bytes that processes share.
pub type SharedBytes = Array<u8>;

by_token!(Array<T: Number>, check = |body: &Handle<Bytes>| {
    let (first, data) = cell::words(body).split_first().ok_or("this is no array")?;
    let fits = (first.load(Ordering::Relaxed) as usize).checked_mul(size_of::<T>());
    if fits.is_some_and(|len| len <= size_of_val(data)) { Ok(()) } else { Err("this is an array of something else") }
});

impl<T: Number> Array<T> {
    /// `len` zeros.
    ///
    /// ```
    /// let counts = kettle::Array::<u32>::zeroed(3)?;
    /// assert_eq!(counts.to_vec(), [0, 0, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn zeroed(len: usize) -> Result<Self, OutOfMemory> {
        session::join()?;
        let bytes = len
            .checked_mul(size_of::<T>())
            .and_then(|n| n.checked_add(size_of::<u64>()))
            .ok_or_else(|| OutOfMemory::new(format_args!("{len} elements are more than an address space holds")))?;
        let body = cell::with_data(bytes, || Bytes)?;
        // The first word is the length. The array is not shared yet.
        cell::words(&body)[0].store(len as u64, Ordering::Relaxed);
        Ok(Self::from_body(body))
    }

    /// A copy of these numbers.
    ///
    /// ```
    /// let primes = kettle::Array::from_slice(&[2u32, 3, 5])?;
    /// assert_eq!(primes.get(2), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn from_slice(numbers: &[T]) -> Result<Self, OutOfMemory> {
        let array = Self::zeroed(numbers.len())?;
        // Should the session be found damaged just now, this process is told when it uses the array.
        cell::store(&cell::words(&array.body)[1..], 0, bytemuck::cast_slice(numbers));
        Ok(array)
    }

    fn from_body(body: Handle<Bytes>) -> Self {
        let (first, data) = cell::words(&body).split_first().unzip();
        let most = data.map_or(0, size_of_val) / size_of::<T>();
        let len = first.map_or(0, |first| first.load(Ordering::Relaxed) as usize).min(most);
        Self { body, len, numbers: PhantomData }
    }

    fn data(&self) -> &[AtomicU64] {
        expect_sound(Scope::Shared);
        &cell::words(&self.body)[1..]
    }

    /// How many numbers there are.
    ///
    /// ```
    /// assert_eq!(kettle::Array::<u8>::zeroed(3)?.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    ///
    /// ```
    /// assert!(kettle::Array::<u8>::zeroed(0)?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The word in which an element stands, and how far to the left.
    fn place(&self, index: usize) -> (&AtomicU64, u32) {
        assert!(index < self.len(), "index {index} of an array of {}", self.len());
        let byte = index * size_of::<T>();
        // In a word, the byte at the lowest address is at the right end or at the left one.
        let within = if cfg!(target_endian = "little") { byte % 8 } else { 8 - size_of::<T>() - byte % 8 };
        (&self.data()[byte / 8], within as u32 * 8)
    }

    /// An element.
    ///
    /// ```
    /// let primes = kettle::Array::from_slice(&[2u32, 3, 5])?;
    /// assert_eq!(primes.get(0), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is none of this index.
    pub fn get(&self, index: usize) -> T {
        let (word, shift) = self.place(index);
        T::from_word(word.load(Ordering::SeqCst) >> shift)
    }

    /// Makes an element another number.
    ///
    /// ```
    /// let marks = kettle::Array::<u32>::zeroed(2)?;
    /// marks.set(1, 5);
    /// assert_eq!(marks.to_vec(), [0, 5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is none of this index.
    pub fn set(&self, index: usize, number: T) {
        self.update(index, |_| number);
    }

    /// Makes an element what `change` makes of it, and tells which number it was. Others may be quicker: then `change`
    /// is asked again.
    ///
    /// ```
    /// let numbers = kettle::Array::from_slice(&[2u32, 3])?;
    /// numbers.update(1, |n| n * n);
    /// assert_eq!(numbers.to_vec(), [2, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is none of this index.
    pub fn update(&self, index: usize, change: impl Fn(T) -> T) -> T {
        let (word, shift) = self.place(index);
        let mask = u64::MAX >> (64 - 8 * size_of::<T>()) << shift;
        let step = |word| Some(word & !mask | change(T::from_word(word >> shift)).to_word() << shift);
        let (Ok(before) | Err(before)) = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        T::from_word(before >> shift)
    }

    /// Adds to an element, and returns the previous number. Integers wrap around.
    ///
    /// ```
    /// let counts = kettle::Array::<u32>::zeroed(2)?;
    /// assert_eq!(counts.fetch_add(1, 5), 0);
    /// assert_eq!(counts.to_vec(), [0, 5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is none of this index.
    pub fn fetch_add(&self, index: usize, more: T) -> T {
        self.update(index, |number| number.plus(more))
    }

    /// Copies elements out, from `index` on.
    ///
    /// ```
    /// let numbers = kettle::Array::from_slice(&[1u32, 2, 3])?;
    /// let mut last = [0; 2];
    /// numbers.read(1, &mut last);
    /// assert_eq!(last, [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there are not as many.
    pub fn read(&self, index: usize, to: &mut [T]) {
        self.check_range(index, to.len());
        cell::load(self.data(), index * size_of::<T>(), bytemuck::cast_slice_mut(to));
    }

    /// Copies elements in, from `index` on.
    ///
    /// ```
    /// let numbers = kettle::Array::<u32>::zeroed(3)?;
    /// numbers.write(1, &[7, 8]);
    /// assert_eq!(numbers.to_vec(), [0, 7, 8]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is no room for as many.
    pub fn write(&self, index: usize, from: &[T]) {
        self.check_range(index, from.len());
        cell::store(self.data(), index * size_of::<T>(), bytemuck::cast_slice(from));
    }

    fn check_range(&self, index: usize, len: usize) {
        let fits = index.checked_add(len).is_some_and(|end| end <= self.len());
        assert!(fits, "{len} elements from index {index} on, of an array of {}", self.len());
    }

    /// A copy of all elements.
    ///
    /// ```
    /// let numbers = kettle::Array::from_slice(&[1u32, 2])?;
    /// assert_eq!(numbers.to_vec(), [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_vec(&self) -> Vec<T> {
        let mut numbers = vec![T::zeroed(); self.len()];
        self.read(0, &mut numbers);
        numbers
    }
}

impl<T: Number> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("len", &self.len()).finish_non_exhaustive()
    }
}
