//! What a task becomes: the function as it is, a type of the same name with the functions that start processes, and an
//! entry by which a process finds the function.
//!
//! The names that are made here have the hygiene of `Span::mixed_site`, so nothing in the function can have the same
//! name by accident, not even an argument that is named as its function.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, Ident, ItemFn, Meta, Pat, PatType, Path, ReturnType, Safety, Signature, Token, Type,
};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let kettle = crate_path(options)?;
    let function: ItemFn = syn::parse2(item)
        .map_err(|e| Error::new(e.span(), format!("#[task] belongs on a function outside of an impl or trait: {e}")))?;
    let arguments = check(&function.sig)?;
    Ok(task(&kettle, &function, &arguments))
}

/// Where the code finds kettle: `::kettle`, or what `#[task(crate = …)]` says.
fn crate_path(options: TokenStream) -> Result<Path, Error> {
    let mut path = syn::parse_quote!(::kettle);
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("crate") {
            return Err(meta.error("the only option of #[task] is `crate = path::to::kettle`"));
        }
        path = meta.value()?.call(Path::parse_mod_style)?;
        Ok(())
    });
    parser.parse2(options)?;
    Ok(path)
}

/// An argument as the function has it.
struct Argument<'f> {
    /// Its name, or one in place of a pattern.
    name: Ident,
    ty: &'f Type,
}

/// Everything that a task cannot be, each at its place; otherwise its arguments.
fn check(signature: &Signature) -> Result<Vec<Argument<'_>>, Error> {
    let mut problems = Problems::default();
    if let Some(token) = &signature.asyncness {
        problems.add(
            token,
            "a task cannot be async: its process has no runtime. Make it a plain function that starts one and waits: \
             `tokio::runtime::Runtime::new()?.block_on(async { … })`",
        );
    }
    if !matches!(signature.safety, Safety::Default) {
        problems.add(&signature.safety, "a task is safe to call: a process calls it that knows nothing else of it");
    }
    if let Some(abi) = &signature.abi {
        problems.add(abi, "a task has Rust's own calling convention");
    }
    if let Some(variadic) = &signature.variadic {
        problems.add(variadic, "a task has a fixed number of arguments");
    }
    if !signature.generics.params.is_empty() {
        problems.add(
            &signature.generics.params,
            "a task cannot be generic: a process finds it by its name alone. Write a task for each type, which calls \
             the generic function",
        );
    } else if let Some(clause) = &signature.generics.where_clause {
        problems.add(clause, "a task cannot have a where clause: it is not generic");
    }
    let mut arguments = Vec::new();
    for (number, input) in (1..).zip(&signature.inputs) {
        match input {
            FnArg::Receiver(receiver) => {
                problems.add(receiver, "a task is a function without `self`: pass the value as an argument");
            }
            FnArg::Typed(PatType { attrs, pat, ty, .. }) => {
                if let Some(attribute) =
                    attrs.iter().find(|a| a.path().is_ident("cfg") || a.path().is_ident("cfg_attr"))
                {
                    problems.add(
                        attribute,
                        "an argument of a task cannot depend on cfg: write two tasks, each with a #[cfg] of its own",
                    );
                }
                check_type(ty, "an argument", &mut problems);
                arguments.push(Argument { name: name_of(pat, number), ty });
            }
        }
    }
    if let ReturnType::Type(_, ty) = &signature.output {
        check_type(ty, "the result", &mut problems);
    }
    problems.0.map_or(Ok(arguments), Err)
}

fn check_type(ty: &Type, what: &str, problems: &mut Problems) {
    match ty {
        Type::Reference(_) => problems.add(
            ty,
            &format!(
                "{what} of a task is sent to another process, so it cannot be borrowed: use an owned type, such as \
                 `String` for `&str` and `Vec<T>` for `&[T]`"
            ),
        ),
        Type::ImplTrait(_) => problems.add(
            ty,
            &format!(
                "{what} of a task is sent to another process, so its type must be named: `impl Trait` is not a type"
            ),
        ),
        Type::Paren(inner) => check_type(&inner.elem, what, problems),
        Type::Group(inner) => check_type(&inner.elem, what, problems),
        _ => {}
    }
}

#[derive(Default)]
struct Problems(Option<Error>);

impl Problems {
    fn add(&mut self, place: impl ToTokens, message: &str) {
        let problem = Error::new_spanned(place, message);
        match &mut self.0 {
            Some(problems) => problems.combine(problem),
            none => *none = Some(problem),
        }
    }
}

/// The name that the argument has outside of the function.
fn name_of(pattern: &Pat, number: usize) -> Ident {
    match pattern {
        Pat::Ident(pattern) if pattern.subpat.is_none() => pattern.ident.clone(),
        _ => argument(number),
    }
}

/// The conditions on which there is this function: they hold for all that is made for it.
fn conditions(attributes: &[Attribute]) -> TokenStream {
    let mut conditions = TokenStream::new();
    for attribute in attributes {
        if attribute.path().is_ident("cfg") {
            attribute.to_tokens(&mut conditions);
        } else if attribute.path().is_ident("cfg_attr") {
            let Ok(parts) = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
                continue;
            };
            let mut parts = parts.into_iter();
            let predicate = parts.next();
            for part in parts.filter(|part| part.path().is_ident("cfg")) {
                conditions.extend(quote!(#[cfg_attr(#predicate, #part)]));
            }
        }
    }
    conditions
}

fn task(kettle: &Path, function: &ItemFn, arguments: &[Argument<'_>]) -> TokenStream {
    let ItemFn { attrs, vis, sig, .. } = function;
    let name = &sig.ident;
    let called = name.unraw().to_string();
    let conditions = conditions(attrs);
    let result = match &sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    let (names, types): (Vec<_>, Vec<_>) = arguments.iter().map(|a| (&a.name, a.ty)).unzip();
    let bound: Vec<_> = (1..=arguments.len()).map(argument).collect();
    let checks = arguments
        .iter()
        .map(|a| a.ty.to_token_stream())
        .chain([result.clone()])
        .map(|ty| quote_spanned!(ty.span()=> #kettle::__private::must_be_sendable::<#ty>();));
    let described = format!("Starts processes that run the function [`{called}`](fn@{called}).");
    quote! {
        #function

        #conditions
        #[doc = #described]
        #[allow(non_camel_case_types, dead_code)]
        #vis enum #name {}

        #conditions
        #[allow(dead_code, clippy::too_many_arguments)]
        impl #name {
            /// What tells it from all other tasks of the program.
            const KEY: &'static str =
                ::core::concat!(::core::module_path!(), "::", #called, ":", ::core::line!(), ":", ::core::column!());

            /// Starts a process that runs it.
            #vis fn start(
                #(#names: #types),*
            ) -> ::core::result::Result<#kettle::Process<#result>, #kettle::StartError> {
                Self::builder(#(#names),*).start()
            }

            /// For a process with a name, or other choices.
            #vis fn builder(#(#names: #types),*) -> #kettle::Builder<#result> {
                #kettle::Builder::__new(Self::KEY, #called, (#(#names,)*))
            }

            /// A call of it, to be made by a worker of a pool.
            #vis fn call(#(#names: #types),*) -> #kettle::pool::Call<#result> {
                #kettle::pool::Call::__new(Self::KEY, &(#(#names,)*))
            }
        }

        #conditions
        const _: () = {
            #[allow(dead_code)]
            fn all_can_be_sent() {
                #(#checks)*
            }
        };

        #conditions
        #kettle::__private::inventory::submit! {
            #kettle::__private::Entry::new(<#name>::KEY, |arguments| {
                arguments.answer(|(#(#bound,)*): (#(#types,)*)| #name(#(#bound),*))
            })
        }
    }
}

/// A name for the argument of this number that is no other one.
fn argument(number: usize) -> Ident {
    format_ident!("argument_{}", number, span = Span::mixed_site())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    /// The refusals of a task: which text each is about, and what it says.
    fn refusals(item: &str) -> Vec<(String, String)> {
        let e = expand(TokenStream::new(), TokenStream::from_str(item).unwrap()).expect_err(item);
        e.into_iter().map(|e| (e.span().source_text().unwrap_or_default(), e.to_string())).collect()
    }

    #[track_caller]
    fn refuses(item: &str, place: &str, says: &str) {
        let refusals = refusals(item);
        let [(at, text)] = refusals.as_slice() else { panic!("{item}: {refusals:?}") };
        assert_eq!(at, place, "{item}: {text}");
        assert!(text.contains(says), "{item}: {text}");
    }

    fn expanded(options: &str, item: &str) -> String {
        let expanded = expand(TokenStream::from_str(options).unwrap(), TokenStream::from_str(item).unwrap());
        expanded.unwrap().to_string().replace(' ', "")
    }

    #[test]
    fn what_a_task_cannot_be_is_said_at_its_place() {
        refuses("async fn f(n: u32) -> u32 { n }", "async", "block_on");
        refuses("unsafe fn f(n: u32) {}", "unsafe", "safe to call");
        refuses("extern \"C\" fn f(n: u32) {}", "extern \"C\"", "calling convention");
        refuses("fn f<T>(t: T) {}", "T", "cannot be generic");
        refuses("fn f<'a, T: Copy>(t: S<'a>, u: T) {}", "'a, T: Copy", "cannot be generic");
        refuses("fn f(n: u32) where u32: Copy {}", "where u32: Copy", "where clause");
        refuses("fn f(self) {}", "self", "without `self`");
        refuses("fn f(a: u8, s: &str) {}", "&str", "`String` for `&str`");
        refuses("fn f(s: impl Iterator<Item = u8>) {}", "impl Iterator<Item = u8>", "must be named");
        refuses("fn f() -> &'static str { \"\" }", "&'static str", "the result of a task");
        refuses("fn f(#[cfg(unix)] a: u8) {}", "#[cfg(unix)]", "two tasks");
        refuses("struct S;", "struct", "belongs on a function");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let refusals = refusals("async fn f<T>(s: &str, t: T) {}");
        let places: Vec<_> = refusals.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["async", "T", "&str"]);
    }

    #[test]
    fn the_only_option_is_where_kettle_is() {
        assert!(expanded("crate = other::kettle", "fn f() {}").contains("other::kettle::Process<()>"));
        let e = expand(TokenStream::from_str("name = \"x\"").unwrap(), TokenStream::new()).unwrap_err();
        assert!(e.to_string().contains("crate = path::to::kettle"), "{e}");
    }

    #[test]
    fn conditions_hold_for_all_that_is_made() {
        let task = expanded("", "#[cfg(a)] #[cfg_attr(b, inline, cfg(c))] #[inline] fn f() {}");
        // The function, the type, its functions, the check, and the entry.
        assert_eq!(task.matches("#[cfg(a)]").count(), 5);
        assert_eq!(task.matches("#[cfg_attr(b,cfg(c))]").count(), 4);
        assert_eq!(task.matches("#[inline]").count(), 1);
    }

    #[test]
    fn patterns_get_names() {
        let task = expanded("", "fn f(mut n: u32, (a, b): (u8, u8), _: bool) {}");
        assert!(task.contains("fnstart(n:u32,argument_2:(u8,u8),argument_3:bool)"), "{task}");
    }
}
