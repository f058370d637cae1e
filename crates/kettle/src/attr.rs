//! The attribute `#[task]`.
//!
//! It is in a module of its own because `kettle::task` is the macro [`task!`](crate::task), and a path names one macro.

/// Makes a function one that can be called, as ever, and that processes can be started with.
///
/// This is [`task!`](crate::task) as an attribute: for `fn name(a: A, …) -> R` there are also `name::start(a, …)`,
/// `name::builder(a, …)` and `name::call(a, …)`. The function is formatted by rustfmt as any other, its arguments may be
/// patterns or `mut`, and `#[cfg(…)]` on it holds for all that is made for it.
///
/// ```standalone_crate
/// use kettle::attr::task;
///
/// /// The distance of two points.
/// #[task]
/// fn distance((x, y): (f64, f64), (u, v): (f64, f64)) -> f64 {
///     (x - u).hypot(y - v)
/// }
///
/// #[task]
/// #[cfg(unix)]
/// fn shout(mut text: String) -> String {
///     text.make_ascii_uppercase();
///     text
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     kettle::init();
///     assert_eq!(distance((0., 0.), (3., 4.)), 5.);
///     assert_eq!(distance::start((0., 0.), (3., 4.))?.join()?, 5.);
///     let pool = kettle::Pool::new()?;
///     assert_eq!(pool.map(shout::call, ["tea".into(), "kettle".into()])?, ["TEA", "KETTLE"]);
///     Ok(())
/// }
/// ```
///
/// # What is refused
///
/// Each of these is an error of the compiler at its place:
///
/// * Generics. A process finds its task by name. Write a task for each type, which calls the generic function.
/// * `async fn`. A process has no runtime until its task starts one, and which one that is, with how many threads, is
///   the program's choice: the task is a plain function that calls `block_on`. (The caller needs no thread to wait for
///   it: `process.await`, with the feature `tokio`.)
/// * Borrowed arguments and results, and `impl Trait`.
/// * `self`, `unsafe`, `extern`, and `cfg` on an argument.
///
/// ```compile_fail
/// #[kettle::attr::task]
/// fn first<T: Clone>(items: Vec<T>) -> Option<T> {
///     items.first().cloned()
/// }
/// ```
///
/// ```compile_fail
/// #[kettle::attr::task]
/// async fn fetch(url: String) -> String {
///     url
/// }
/// ```
///
/// ```compile_fail
/// #[kettle::attr::task]
/// fn length(text: &str) -> usize {
///     text.len()
/// }
/// ```
///
/// ```compile_fail,E0277
/// struct Opaque;
///
/// #[kettle::attr::task]
/// fn drop_it(_: Opaque) {}
/// ```
///
/// # Under another name
///
/// A crate that exports kettle to its users says where it is: `#[task(crate = my_crate::kettle)]`.
#[doc(inline)]
pub use kettle_macros::task;
