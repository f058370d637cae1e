//! The attribute `#[task]` of [kettle](https://docs.rs/kettle), which exports and documents it.

mod task;

use proc_macro::TokenStream;

/// See `kettle::attr::task`.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(options.into(), item.into()).unwrap_or_else(|e| e.to_compile_error()).into()
}
