//! The `with` blocks that this thread is currently inside, looked up on the interpreter's stack on request.
//!
//! A frame that runs a `with` block keeps the bound `__exit__` of the context manager, which will end the block, on its
//! value stack. The exception table of its code says where. The frame is in the middle of a call, so the block
//! continues until that call returns or raises, and only this thread can end it. This holds for the frames currently on
//! the stack. A generator that is suspended in a `with` block is not among them: the thread that resumes it leaves the
//! block.
//!
//! The interpreter does not expose where a frame's values are. So a frame with known values is searched for them once;
//! if they are not found, no blocks are reported.

use std::ffi::c_int;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyCFunction, PyDict, PyString, PyTuple};
use pyo3::{ffi, intern};

/// A `with` block that this thread is currently inside.
pub(crate) struct Block<'py> {
    /// Its context manager.
    pub(crate) manager: Bound<'py, PyAny>,
    /// The code that contains it.
    pub(crate) code: Bound<'py, PyAny>,
    /// The line of its `with`, if known.
    pub(crate) line: Option<u32>,
}

/// The `with` blocks that this thread is currently inside, innermost first, limited to those that call an `__exit__`
/// that is not written in Python.
pub(crate) fn entered(py: Python<'_>) -> Vec<Block<'_>> {
    static LAYOUT: PyOnceLock<Option<Layout>> = PyOnceLock::new();
    let layout = LAYOUT.get_or_init(py, || Layout::found(py).ok().flatten());
    layout.as_ref().and_then(|layout| layout.entered(py).ok()).unwrap_or_default()
}

/// Whether the code handles, or passes by on the way out, what is raised at this instruction (`f_lasti`).
#[pyfunction]
pub(crate) fn is_guarded(code: &Bound<'_, PyAny>, instruction: usize) -> PyResult<bool> {
    Ok(Handlers::of(code)?.at(instruction / UNIT).is_some())
}

/// The size of an instruction without extended arguments, in bytes.
const UNIT: usize = 2;

// ---------------------------------------------------------------- where exceptions go

/// The exception table of a code object.
struct Handlers(Vec<Handler>);

/// Where the interpreter continues if one of these instructions raises, and how many values it keeps on the stack.
#[derive(Clone, Copy)]
struct Handler {
    start: usize,
    end: usize,
    target: usize,
    depth: usize,
}

impl Handlers {
    fn of(code: &Bound<'_, PyAny>) -> PyResult<Self> {
        let table = code.getattr(intern!(code.py(), "co_exceptiontable"))?;
        let mut bytes = table.cast::<PyBytes>()?.as_bytes().iter();
        let mut all = Vec::new();
        while let (Some(start), Some(len), Some(target), Some(rest)) =
            (number(&mut bytes), number(&mut bytes), number(&mut bytes), number(&mut bytes))
        {
            // The last bit states whether the instruction is pushed, too.
            all.push(Handler { start, end: start + len, target, depth: rest >> 1 });
        }
        Ok(Self(all))
    }

    fn at(&self, instruction: usize) -> Option<Handler> {
        self.0.iter().copied().find(|handler| (handler.start..handler.end).contains(&instruction))
    }

    /// All handlers that an exception at `instruction` passes on its way out of the frame, innermost first.
    fn on_the_way_out(&self, instruction: usize) -> impl Iterator<Item = Handler> {
        std::iter::successors(self.at(instruction), |handler| self.at(handler.target)).take(self.0.len())
    }
}

/// A number of the table: six bits in each byte, most significant first; another bit states that more follow.
fn number<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<usize> {
    let mut value = 0_usize;
    loop {
        let byte = bytes.next()?;
        value = value << 6 | usize::from(byte & 0x3f);
        if byte & 0x40 == 0 {
            return Some(value);
        }
    }
}

/// The first instructions of the handler of a `with` block.
fn of_with_block(py: Python<'_>) -> PyResult<[u8; 2]> {
    static OPCODES: PyOnceLock<[u8; 2]> = PyOnceLock::new();
    let numbers = || {
        let numbers = py.import("opcode")?.getattr("opmap")?;
        let number = |name| numbers.get_item(name)?.extract::<u8>();
        Ok::<_, PyErr>([number("PUSH_EXC_INFO")?, number("WITH_EXCEPT_START")?])
    };
    OPCODES.get_or_try_init(py, numbers).copied()
}

// ---------------------------------------------------------------- frames

/// Where a frame keeps its values.
struct Layout {
    /// The number of words from the start of the interpreter's frame to the first local variable. The stack follows the
    /// last.
    locals: usize,
}

/// A frame object's first field after the calling frame refers to the interpreter's frame.
const REFERENCE: usize = size_of::<ffi::PyObject>() + size_of::<usize>();

/// In newer versions, a word has flags in its lowest bits beside the address.
const ADDRESS: usize = !0b111;

/// A frame to be searched for its values. It has room for more of them than are searched.
const PROBE: &std::ffi::CStr = c"
def known(look, a, b, c, d, e):
    return [e, d, look(a, b, c, d, e)]

def inside(look, lock):
    for each in [lock]:
        with each:
            return look()
";

/// The number of words before the variables of a frame, which has always been nine or ten.
const HEADS: std::ops::RangeInclusive<usize> = 6..=11;

impl Layout {
    fn found(py: Python<'_>) -> PyResult<Option<Self>> {
        // The location of the two halves of a bound `__exit__` in later versions is not known.
        if py.version_info() >= (3, 15) {
            return Ok(None);
        }
        let probe = PyDict::new(py);
        py.run(PROBE, Some(&probe), None)?;
        let look =
            PyCFunction::new_closure(py, None, None, |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                let known: Vec<usize> = args.iter().map(|object| object.as_ptr().addr()).collect();
                let values = [known[0], known[1], known[2], known[3], known[4], known[4], known[3]];
                let words = Frame::of_caller(args.py())?.words()?;
                // SAFETY: in front of the six variables the frame has some words of its own, at least as many as any
                // version had (9), and beyond them room for four values at least: 19 words. No more are looked at.
                let word = |i: usize| unsafe { words.add(i).read() & ADDRESS };
                HEADS.into_iter().find(|head| (0..values.len()).all(|i| word(head + 1 + i) == values[i]))
            })?;
        let object = py.get_type::<PyAny>();
        let marks = (0..5).map(|_| object.call0()).collect::<PyResult<Vec<_>>>()?;
        let mut args = vec![look.into_any()];
        args.extend(marks);
        let known = probe.get_item("known")?.map(|known| known.call1(PyTuple::new(py, args)?)).transpose()?;
        let Some(locals) = known.and_then(|known| known.get_item(2).ok()?.extract::<Option<usize>>().ok().flatten())
        else {
            return Ok(None);
        };
        let layout = Self { locals };
        Ok(layout.finds_a_block(&probe)?.then_some(layout))
    }

    /// Whether the one block of `inside` is found where it is expected.
    fn finds_a_block(&self, probe: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = probe.py();
        let locals = self.locals;
        let lock = py.import("_thread")?.getattr("allocate_lock")?.call0()?;
        let expected = lock.as_ptr().addr();
        let look = PyCFunction::new_closure(
            py,
            None,
            None,
            move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                let py = args.py();
                let layout = Self { locals };
                let frame = Frame::of_caller(py)?;
                let [handler] = frame.blocks().ok()?.try_into().ok()?;
                let found = layout.entered_at(&frame, handler.depth).ok()??;
                (found.as_ptr().addr() == expected).then_some(true)
            },
        )?;
        let inside = probe.get_item("inside")?.map(|inside| inside.call1((look, lock))).transpose()?;
        Ok(inside.is_some_and(|found| found.is_truthy().unwrap_or(false)))
    }

    fn entered<'py>(&self, py: Python<'py>) -> PyResult<Vec<Block<'py>>> {
        let mut all = Vec::new();
        let mut next = Frame::of_caller(py);
        while let Some(frame) = next {
            for handler in frame.blocks()? {
                if let Some(manager) = self.entered_at(&frame, handler.depth)? {
                    // The handler calls `__exit__` on behalf of the `with`, and has its line.
                    all.push(Block { manager, code: frame.code(), line: frame.line_of(handler.target) });
                }
            }
            next = frame.back();
        }
        Ok(all)
    }

    /// The value on the stack of a frame that has `below` others below it.
    ///
    /// # Safety
    /// There is one.
    unsafe fn value<'py>(&self, frame: &Frame<'py>, below: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(words) = frame.words() else { return Ok(None) };
        let place = self.locals + frame.variables()? + below;
        // SAFETY: the layout was tried, and there is a value: it lies there, and lives as long as the frame is in a
        // call.
        unsafe {
            let value = (words.add(place).read() & ADDRESS) as *mut ffi::PyObject;
            Ok(Bound::from_borrowed_ptr_or_opt(frame.py(), value))
        }
    }

    /// The context manager of a `with` block that leaves `depth` values on the stack, if its `__exit__` is a native
    /// one.
    fn entered_at<'py>(&self, frame: &Frame<'py>, depth: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (exit, owner) = if cfg!(Py_3_14) {
            let (Some(exit), Some(owner)) = (depth.checked_sub(2), depth.checked_sub(1)) else { return Ok(None) };
            // SAFETY: such a block's handler finds the method and what it is bound to on top of what it leaves; the
            // stack is at least as high as what a handler of the instruction leaves.
            unsafe { (self.value(frame, exit)?, self.value(frame, owner)?) }
        } else {
            let Some(exit) = depth.checked_sub(1) else { return Ok(None) };
            // SAFETY: such a block's handler finds the bound method on top of what it leaves; else as above.
            (unsafe { self.value(frame, exit)? }, None)
        };
        let py = frame.py();
        let Some(exit) = exit else { return Ok(None) };
        let is_exit = |exit: &Bound<'py, PyAny>| {
            let name = exit.getattr(intern!(py, "__name__"))?;
            Ok::<_, PyErr>(name.cast::<PyString>()?.to_str()? == "__exit__")
        };
        match owner {
            // SAFETY: it is an object, and alive.
            Some(owner) if unsafe { (*exit.as_ptr()).ob_type == &raw mut ffi::PyMethodDescr_Type } => {
                Ok(is_exit(&exit)?.then_some(owner))
            }
            None if exit.is_instance_of::<PyCFunction>() && is_exit(&exit)? => {
                // SAFETY: it is such a function; what it is bound to is borrowed from it, or NULL.
                Ok(unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyCFunction_GetSelf(exit.as_ptr())) })
            }
            _ => Ok(None),
        }
    }
}

/// A frame of this thread, in the middle of a call.
struct Frame<'py>(Bound<'py, PyAny>);

impl<'py> Frame<'py> {
    /// The frame that called us.
    fn of_caller(py: Python<'py>) -> Option<Self> {
        // SAFETY: the interpreter is attached; what comes back is borrowed, or NULL outside of all Python code.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast()).map(Self) }
    }

    fn py(&self) -> Python<'py> {
        self.0.py()
    }

    fn raw(&self) -> *mut ffi::PyFrameObject {
        self.0.as_ptr().cast()
    }

    /// The frame that called this one.
    fn back(&self) -> Option<Self> {
        // SAFETY: it is a frame, and alive; what comes back is a new reference, or NULL at the bottom.
        unsafe { Bound::from_owned_ptr_or_opt(self.py(), ffi::PyFrame_GetBack(self.raw()).cast()).map(Self) }
    }

    fn code(&self) -> Bound<'py, PyAny> {
        // SAFETY: it is a frame, and alive; its code is a new reference and never NULL.
        unsafe { Bound::from_owned_ptr(self.py(), ffi::PyFrame_GetCode(self.raw()).cast()) }
    }

    fn instruction(&self) -> usize {
        // SAFETY: it is a frame, and alive.
        let instruction: c_int = unsafe { ffi::PyFrame_GetLasti(self.raw()) };
        usize::try_from(instruction).unwrap_or(0) / UNIT
    }

    /// The number of places for variables. The cell of an argument shares the argument's place.
    fn variables(&self) -> PyResult<usize> {
        let (py, code) = (self.py(), self.code());
        let names = |name| code.getattr(name)?.cast_into::<PyTuple>().map_err(PyErr::from);
        let (locals, cells) = (names(intern!(py, "co_varnames"))?, names(intern!(py, "co_cellvars"))?);
        let mut own_cells = 0;
        for cell in &cells {
            own_cells += usize::from(!locals.contains(cell)?);
        }
        Ok(locals.len() + own_cells + names(intern!(py, "co_freevars"))?.len())
    }

    /// The line of an instruction.
    fn line_of(&self, instruction: usize) -> Option<u32> {
        let offset = c_int::try_from(instruction * UNIT).ok()?;
        // SAFETY: the interpreter is attached, and it is code; what is outside of it has line -1.
        let line = unsafe { ffi::PyCode_Addr2Line(self.code().as_ptr().cast(), offset) };
        u32::try_from(line).ok()
    }

    /// The handlers of the `with` blocks that the frame is currently inside.
    fn blocks(&self) -> PyResult<Vec<Handler>> {
        let code = self.code();
        let handlers = Handlers::of(&code)?;
        if handlers.0.is_empty() {
            return Ok(Vec::new());
        }
        let begin = of_with_block(self.py())?;
        let instructions = code.getattr(intern!(self.py(), "co_code"))?.cast_into::<PyBytes>()?;
        let opcode = |i: usize| instructions.as_bytes().get(i * UNIT).copied();
        let is_block = |handler: &Handler| [opcode(handler.target), opcode(handler.target + 1)] == begin.map(Some);
        Ok(handlers.on_the_way_out(self.instruction()).filter(is_block).collect())
    }

    /// The interpreter's own frame, in words.
    fn words(&self) -> Option<*const usize> {
        // SAFETY: a frame object has a field there, which refers to the interpreter's frame while that runs.
        let words = unsafe { self.0.as_ptr().cast::<u8>().add(REFERENCE).cast::<*const usize>().read() };
        (!words.is_null() && words.is_aligned()).then_some(words)
    }
}
