//! The runtime of SanitizerCoverage: the functions that instrumented code calls (clang's documentation,
//! "SanitizerCoverage"; gcc's `-fsanitize-coverage`), by which a handler is covered without macros.
//!
//! The program exports these functions for libraries with handlers. Each appends one record to the area that
//! is armed for the thread, with a PC of [`kcov_proto::region`], and does nothing if no area is armed.
//!
//! | callback | PC mode | CMP mode |
//! |---|---|---|
//! | `trace_pc`, `trace_pc_guard` | its PC | |
//! | `trace_cmp1`, `2`, `4`, `8` | | a comparison |
//! | `trace_const_cmp1`, `2`, `4`, `8` | | one of a constant, which comes first |
//! | `trace_switch` | | for each case, one of the case with the value |
//! | `trace_div4`, `8` | | one of the constant 0 with the divisor |
//! | `trace_pc_indir`, `trace_gep`, `trace_cmpf`, `trace_cmpd`, `pcs_init` | | |
//!
//! The last ones exist so that instrumented code links: an area has no records for their arguments.
//!
//! # Order of events
//! Constructors of a module announce its guards before it is known which module they belong to, and other
//! libraries may follow. So the guards are only noted. [`settle`] then assigns each module its region, and
//! the guards their PCs; until then a guard is 0, which records nothing.
//!
//! # No recursion
//! This crate is not instrumented: the build script refuses flags that would do so. A callback calls no code
//! of the handler, and outside of a handler's call no area is armed.

mod calls;
pub mod points;
mod registry;
pub(super) mod text;

pub use calls::__sanitizer_cov_trace_pc;
pub use registry::{pcs_of, settle};

use super::recording::store_pc_or;
use std::ffi::{CStr, c_char};
use std::sync::atomic::AtomicU32;

/// Records a point that has a guard.
///
/// # Safety
/// `guard` points to one of the announced guards.
// Out of line for the benchmark as well. Nothing in it panics; `C-unwind` lets it end with a jump, see
// `calls`.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __sanitizer_cov_trace_pc_guard(guard: *const AtomicU32) {
    let pc = |_: &_| {
        // SAFETY: by the contract, which compilers keep.
        points::pc_of_guard(unsafe { &*guard })
    };
    store_pc_or(pc, || ());
}

/// Announces the guards of a module. Its constructors call this once for each of its files, with all guards
/// each time.
///
/// # Safety
/// `start` and `stop` enclose the section with the guards of a module that stays loaded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_trace_pc_guard_init(
    start: *const AtomicU32,
    stop: *const AtomicU32,
) {
    let length = stop.addr().saturating_sub(start.addr()) / size_of::<AtomicU32>();
    if !start.is_null() && length > 0 {
        // SAFETY: by the contract, which compilers keep; all access is atomic.
        registry::announce(unsafe { std::slice::from_raw_parts(start, length) });
    }
}

/// Announces the table of a module's points; ignored, as symbolisers read it from the file.
#[unsafe(no_mangle)]
pub extern "C" fn __sanitizer_cov_pcs_init(_start: *const usize, _stop: *const usize) {}

/// Announces an indirect call; ignored, as an area has no record for it.
#[unsafe(no_mangle)]
pub extern "C" fn __sanitizer_cov_trace_pc_indir(_callee: usize) {}

/// Announces an index into an array; ignored, as an area has no record for it.
#[unsafe(no_mangle)]
pub extern "C" fn __sanitizer_cov_trace_gep(_index: usize) {}

/// Announces a comparison of floating-point numbers; ignored, as an area has no record for it.
#[unsafe(no_mangle)]
pub extern "C" fn __sanitizer_cov_trace_cmpf(_a: f32, _b: f32) {}

/// As [`__sanitizer_cov_trace_cmpf`].
#[unsafe(no_mangle)]
pub extern "C" fn __sanitizer_cov_trace_cmpd(_a: f64, _b: f64) {}

/// Options of sanitizers that a handler may have. A report ends the process by a signal, also in builds that
/// would go on after one. Symbols are looked up later, outside of the jail. AddressSanitizer gets the same
/// options by its environment variable, which it reads at the start; UBSan reads its own at its first report,
/// in a worker, which cannot open files.
const SANITIZER_OPTIONS: &CStr =
    c"abort_on_error=1:halt_on_error=1:color=never:symbolize=0:print_stacktrace=0";

/// UBSan asks for its options by this function (`sanitizer/ubsan_interface.h`).
#[unsafe(no_mangle)]
extern "C" fn __ubsan_default_options() -> *const c_char {
    SANITIZER_OPTIONS.as_ptr()
}
