//! Running something else in place of `main`.

use core::ffi::{c_char, c_int, c_void};
use core::{ptr, slice};

/// A function that the system calls before `main`, with the arguments of `main`.
pub type Initialiser = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Defines `$name`, an [`Initialiser`] of the program or library that it is linked into. If `$asks` returns true in a
/// program, it runs all later initialisers and then `$run`, in place of `main`. In a library that a program loads, it
/// does nothing.
#[macro_export]
macro_rules! initialiser {
    ($name:ident: $asks:path => $run:path) => {
        /// Called only by the system.
        unsafe extern "C" fn $name(
            count: ::core::ffi::c_int,
            arguments: *const *const ::core::ffi::c_char,
            environment: *const *const ::core::ffi::c_char,
        ) {
            // SAFETY: the system calls this, as one of the initialisers, with these arguments.
            unsafe { $crate::sys::early::turn_off($name, (count, arguments, environment), $asks, $run) }
        }

        const _: () = {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static ENTRY: $crate::sys::early::Initialiser = $name;
        };
    };
}

/// The body of an [`initialiser!`](crate::initialiser).
///
/// # Safety
/// The system calls `this` as an initialiser, with these arguments.
pub unsafe fn turn_off(
    this: Initialiser,
    (count, arguments, environment): (c_int, *const *const c_char, *const *const c_char),
    asks: fn() -> bool,
    run: fn() -> !,
) {
    if !asks() {
        return;
    }
    let Some(behind) = behind(this) else { return };
    // By the specification, all ones stand for no function, as zero does.
    for initialiser in behind.iter().flatten().filter(|&&function| function as usize != usize::MAX) {
        // SAFETY: the system would call these next, in this order and with these arguments, as it has called `this`. It
        // never reaches them, because `run` does not return.
        unsafe { initialiser(count, arguments, environment) };
    }
    run()
}

/// Whether this is an initialiser of the program itself, and therefore runs before `main`, rather than one of a library
/// that another program loaded.
pub fn is_of_program(initialiser: Initialiser) -> bool {
    behind(initialiser).is_some()
}

/// The initialisers of the program that run after this one, if this is one of them.
fn behind(initialiser: Initialiser) -> Option<&'static [Option<Initialiser>]> {
    let mut all: &'static [Option<Initialiser>] = &[];
    // SAFETY: the callback has the right type, and does not use its data after the call.
    unsafe { libc::dl_iterate_phdr(Some(look), ptr::from_mut(&mut all).cast()) };
    let at = all.iter().position(|entry| entry.is_some_and(|entry| entry as usize == initialiser as usize))?;
    Some(&all[at + 1..])
}

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: isize,
    value: usize,
}

/// Finds the initialisers of the first object that is listed, which is the program.
unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
    const NULL: isize = 0;
    const INIT_ARRAY: isize = 25;
    const INIT_ARRAY_SIZE: isize = 27;
    // SAFETY: the C library describes a loaded object: its program headers are mapped, and so are its dynamic section,
    // if it has one, which ends with an entry whose tag is zero, and the array of initialisers named there. All of them
    // remain, because the program is never unloaded, and the array is not written to once initialisers run. Its entries
    // are functions, null, or all ones. `found` is the pointer that `behind` passed.
    unsafe {
        let info = &*info;
        let headers = slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        let at = |address: usize| (info.dlpi_addr as usize).wrapping_add(address);
        let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) else { return 1 };
        let mut entry = at(dynamic.p_vaddr as usize) as *const Dynamic;
        let (mut array, mut size) = (0, 0);
        while (*entry).tag != NULL {
            match (*entry).tag {
                INIT_ARRAY => array = at((*entry).value),
                INIT_ARRAY_SIZE => size = (*entry).value,
                _ => {}
            }
            entry = entry.add(1);
        }
        if array != 0 {
            let found = &mut *found.cast::<&'static [Option<Initialiser>]>();
            *found =
                slice::from_raw_parts(array as *const Option<Initialiser>, size / size_of::<Option<Initialiser>>());
        }
    }
    1
}
