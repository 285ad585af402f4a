//! Sets PyO3's `cfg` flags, such as `Py_GIL_DISABLED`, for this crate.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
