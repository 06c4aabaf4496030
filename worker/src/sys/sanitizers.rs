//! What sanitizers ask the program: how they are to behave.

use std::ffi::{CStr, c_char};

/// A report ends the process by a signal, also where the handler was built to go on after one; symbols are found later,
/// outside of the jail. AddressSanitizer is told by its environment, which it reads as the program starts; UBSan reads it
/// with its first report, in a worker, which cannot.
const OPTIONS: &CStr = c"abort_on_error=1:halt_on_error=1:color=never:symbolize=0:print_stacktrace=0";

/// `sanitizer/ubsan_interface.h`: the options of UBSan.
#[unsafe(no_mangle)]
extern "C" fn __ubsan_default_options() -> *const c_char {
    OPTIONS.as_ptr()
}
