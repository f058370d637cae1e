//! Tells the sources which Python they are compiled for (`cfg(Py_3_13)`, `cfg(Py_GIL_DISABLED)` and so on).

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
