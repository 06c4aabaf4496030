//! Handlers in shared libraries: the C interface of `include/kcov_handler.h`.
//!
//! A library is trusted as far as a handler is: it runs in the worker and can do anything there. Its results
//! are checked only to report mistakes clearly.

use super::sancov;
use crate::call::Call;
use crate::handler::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};
use crate::remote::{Section, remote_start, remote_start_softirq};
use kcov_proto::Errno;
use kcov_proto::area::CmpSize;
use kcov_proto::claims::Condition;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

/// The version of the interface that this program has.
const VERSION: u32 = 1;
/// The entry function.
const ENTRY: &CStr = c"kcov_handler_v1";
/// Other versions that a library may have been built for.
const OTHER_VERSIONS: RangeInclusive<u32> = 2..=9;
/// Most claims of one kind; a larger count is taken for garbage.
const MOST_CLAIMS: usize = 1024;
/// The lowest value that is an error: minus the highest errno.
const MIN_ERROR: i64 = -4095;

/// Why a library cannot be used as a handler.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// Its ELF header names another machine. The loader's own message is that the file does not exist.
    #[error("it is for another machine: build it for this one")]
    OtherMachine,
    /// The loader refused it.
    #[error("it cannot be loaded: {0}")]
    Loader(String),
    /// It exports no entry function.
    #[error("it exports no `kcov_handler_v1`, so it is not a handler (see man kcov-handler)")]
    NoEntry,
    /// It exports an entry function of another version.
    #[error("it is a handler of version {0}, but this program needs version {VERSION}: rebuild it")]
    OtherVersion(u32),
    /// The entry function returned no handler.
    #[error("it refuses: {0}")]
    Refused(String),
    /// The entry function returned an invalid handler.
    #[error("its kcov_handler_v1() returned an invalid handler: {0}")]
    Malformed(String),
}

/// `struct kcov_caller`, which C sees by pointer only.
type CCaller = c_void;

/// `struct kcov_call`.
#[repr(C)]
struct CCall {
    tid: u32,
    abi: u32,
    number: i32,
    reserved: u32,
    args: [u64; 6],
}

/// `struct kcov_answer`.
#[repr(C)]
struct CAnswer {
    kind: u32,
    close_on_exec: u32,
    value: i64,
    fd: i32,
    reserved: u32,
    reason: *const c_char,
}

/// `struct kcov_section`, which C sees by pointer only.
type CSection = c_void;

/// `struct kcov_host`.
#[repr(C)]
struct CHost {
    version: u32,
    size: u32,
    read: unsafe extern "C" fn(*mut CCaller, u64, *mut c_void, usize) -> c_int,
    write: unsafe extern "C" fn(*mut CCaller, u64, *const c_void, usize) -> c_int,
    record_edge: extern "C" fn(u64),
    record_cmp: extern "C" fn(u64, u32, c_int, u64, u64),
    refuse: unsafe extern "C" fn(*const c_char),
    common_handle: unsafe extern "C" fn(*mut CCaller) -> u64,
    remote_start: extern "C" fn(u64, u32) -> *mut CSection,
    remote_run: unsafe extern "C" fn(*mut CSection, unsafe extern "C" fn(*mut c_void), *mut c_void),
    remote_stop: unsafe extern "C" fn(*mut CSection),
}

static HOST: CHost = CHost {
    version: VERSION,
    size: size_of::<CHost>() as u32,
    read: host_read,
    write: host_write,
    record_edge: host_record_edge,
    record_cmp: host_record_cmp,
    refuse: host_refuse,
    common_handle: host_common_handle,
    remote_start: host_remote_start,
    remote_run: host_remote_run,
    remote_stop: host_remote_stop,
};

/// `struct kcov_condition`.
#[repr(C)]
struct CCondition {
    argument: u32,
    reserved: u32,
    mask: u64,
    value: u64,
}

/// `struct kcov_call_claim`.
#[repr(C)]
struct CCallClaim {
    call: *const c_char,
    conditions: *const CCondition,
    conditions_count: usize,
}

/// `struct kcov_device_claim`.
#[repr(C)]
struct CDeviceClaim {
    path: *const c_char,
    first: u32,
    last: u32,
}

/// `struct kcov_handler`.
#[repr(C)]
struct CHandler {
    version: u32,
    size: u32,
    name: *const c_char,
    state: *mut c_void,
    calls: *const CCallClaim,
    calls_count: usize,
    devices: *const CDeviceClaim,
    devices_count: usize,
    call: Option<unsafe extern "C" fn(*mut c_void, *const CCall, *mut CCaller) -> CAnswer>,
    open: Option<unsafe extern "C" fn(*mut c_void, u32, u32, *mut CCaller, *mut *mut c_void) -> c_int>,
    ioctl: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, u32, u64, *mut CCaller) -> CAnswer>,
    release: Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>,
}

/// `struct kcov_handler` with the members that were appended later.
#[repr(C)]
struct CLongerHandler {
    first: CHandler,
    flags: u32,
    reserved: u32,
}

/// `KCOV_HANDLER_IDEMPOTENT`.
const IDEMPOTENT: u32 = 1;

type Entry = unsafe extern "C" fn(*const CHost, *const c_char) -> *const CHandler;

thread_local! {
    /// The message that a library passed to `refuse`.
    static REFUSAL: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// # Safety
/// `caller` was passed to a function of the handler that has not returned; `buffer` has room for `length`
/// bytes.
unsafe extern "C" fn host_read(
    caller: *mut CCaller,
    address: u64,
    buffer: *mut c_void,
    length: usize,
) -> c_int {
    // SAFETY: by the contract of the function, which the header states.
    let Some(caller) = (unsafe { caller.cast::<Caller<'_>>().as_mut() }) else { return -libc::EINVAL };
    if length == 0 {
        return 0;
    }
    // Into a buffer of this program first: all or nothing, and no reference to memory that C may not have
    // initialised.
    match caller.read_vec(address, length) {
        Ok(bytes) if !buffer.is_null() => {
            // SAFETY: by the contract, the buffer has room for them; it is the library's, so they do not
            // overlap.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len()) };
            0
        }
        Ok(_) => -libc::EINVAL,
        Err(errno) => -errno.0,
    }
}

/// # Safety
/// As [`host_read`]; `buffer` has `length` bytes.
unsafe extern "C" fn host_write(
    caller: *mut CCaller,
    address: u64,
    buffer: *const c_void,
    length: usize,
) -> c_int {
    // SAFETY: by the contract of the function, which the header states.
    let Some(caller) = (unsafe { caller.cast::<Caller<'_>>().as_mut() }) else { return -libc::EINVAL };
    if length == 0 {
        return 0;
    }
    if buffer.is_null() || isize::try_from(length).is_err() {
        return -libc::EINVAL;
    }
    // SAFETY: by the contract, there are `length` bytes, which do not change during the call.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) };
    match caller.write(address, bytes) {
        Ok(()) => 0,
        Err(errno) => -errno.0,
    }
}

extern "C" fn host_record_edge(id: u64) {
    crate::record::record_edge_id(id);
}

extern "C" fn host_record_cmp(id: u64, size: u32, is_const: c_int, a: u64, b: u64) {
    let Some(size) = CmpSize::from_bytes(u64::from(size)) else { return };
    crate::record::record_cmp_id(id, size, is_const != 0, a, b);
}

/// # Safety
/// `message` is null or a string that ends in NUL.
unsafe extern "C" fn host_refuse(message: *const c_char) {
    // SAFETY: by the contract of the function, which the header states.
    REFUSAL.set(unsafe { text(message) });
}

/// # Safety
/// As [`host_read`].
unsafe extern "C" fn host_common_handle(caller: *mut CCaller) -> u64 {
    // SAFETY: by the contract of the function, which the header states.
    unsafe { caller.cast::<Caller<'_>>().as_mut() }.map_or(0, Caller::common_handle)
}

/// `KCOV_REMOTE_SOFTIRQ`.
const SOFTIRQ: u32 = 1;

extern "C" fn host_remote_start(handle: u64, flags: u32) -> *mut CSection {
    let section = if flags & SOFTIRQ == 0 { remote_start(handle) } else { remote_start_softirq(handle) };
    Box::into_raw(Box::new(section)).cast()
}

/// # Safety
/// `section` comes from `remote_start` and was not stopped; `work` may be called with `argument`.
unsafe extern "C" fn host_remote_run(
    section: *mut CSection,
    work: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
) {
    // SAFETY: by the contract of the function, which the header states.
    let Some(section) = (unsafe { section.cast::<Section>().as_ref() }) else { return };
    // SAFETY: as above.
    section.run(|| unsafe { work(argument) });
}

/// # Safety
/// `section` is null, or comes from `remote_start` and was not stopped.
unsafe extern "C" fn host_remote_stop(section: *mut CSection) {
    if !section.is_null() {
        // SAFETY: by the contract of the function, `remote_start` has made it from a box, which nobody uses
        // after this.
        drop(unsafe { Box::from_raw(section.cast::<Section>()) });
    }
}

/// Copies a string of a library.
///
/// # Safety
/// `pointer` is null or points to a string that ends in NUL.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: it is not null, so by the contract it is a string.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// Returns the array that a library has at `pointer`.
///
/// # Safety
/// `pointer` points to `count` values that live as long as the library and do not change.
unsafe fn slice<'a, T>(pointer: *const T, count: usize, what: &str) -> Result<&'a [T], LibraryError> {
    match count {
        0 => Ok(&[]),
        _ if pointer.is_null() || count > MOST_CLAIMS => {
            Err(LibraryError::Malformed(format!("{count} {what} at {pointer:p}")))
        }
        // SAFETY: by the contract.
        _ => Ok(unsafe { std::slice::from_raw_parts(pointer, count) }),
    }
}

/// Loads a library and returns its handler. The library stays loaded until the process ends.
///
/// # Errors
/// [`LibraryError`]. If the library crashes, so does the process.
pub fn load(path: &Path, config: &CStr) -> Result<Box<dyn Handler>, LibraryError> {
    // SAFETY: its constructors are code of the handler, which this process exists to run.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        match is_for_another_machine(path) {
            true => LibraryError::OtherMachine,
            false => LibraryError::Loader(loader_message(&error)),
        }
    })?;
    // SAFETY: by the header, a symbol of this name has this type.
    let entry = match unsafe { library.get::<Entry>(ENTRY.to_bytes_with_nul()) } {
        Ok(entry) => *entry,
        Err(_) => return Err(other_version(&library)),
    };
    // Never unloaded: its functions and strings are used until the end.
    std::mem::forget(library);
    // Before the entry function, so that its coverage is recorded.
    sancov::settle();
    // SAFETY: the type is that of the header; the host structure and the string outlive the call.
    let returned = unsafe { entry(&raw const HOST, config.as_ptr()) };
    if returned.is_null() {
        let refusal = REFUSAL.take();
        return Err(LibraryError::Refused(refusal.unwrap_or_else(|| "it does not say why".to_owned())));
    }
    // SAFETY: the entry function returned it, and it is not null.
    unsafe { ForeignHandler::new(returned) }.map(|handler| Box::new(handler) as Box<dyn Handler>)
}

/// Returns whether a file is an ELF file of this machine's width for another machine.
fn is_for_another_machine(path: &Path) -> bool {
    /// ELF with 64 bits.
    const MAGIC: &[u8] = b"\x7fELF\x02";
    /// `e_machine`: `EM_X86_64`, `EM_AARCH64`.
    const MACHINE: [u8; 2] = if cfg!(target_arch = "x86_64") { [62, 0] } else { [183, 0] };
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header.starts_with(MAGIC) && header[18..] != MACHINE
}

/// Returns the loader's own message, which is the source of libloading's error.
fn loader_message(error: &libloading::Error) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn other_version(library: &Library) -> LibraryError {
    let has = |version: &u32| {
        // SAFETY: this only looks the symbol up and does not use it.
        unsafe { library.get::<*const c_void>(format!("kcov_handler_v{version}\0").as_bytes()) }.is_ok()
    };
    OTHER_VERSIONS.clone().find(has).map_or(LibraryError::NoEntry, LibraryError::OtherVersion)
}

/// A handler in a library.
struct ForeignHandler {
    functions: &'static CHandler,
    name: String,
    claims: Vec<Claim>,
    devices: Vec<String>,
    flags: u32,
}

impl ForeignHandler {
    /// # Safety
    /// `returned`, and everything that it points to, has the form of the header and lives as long as the
    /// process.
    unsafe fn new(returned: *const CHandler) -> Result<Self, LibraryError> {
        let malformed = |what: &str| Err(LibraryError::Malformed(what.to_owned()));
        // SAFETY: by the contract; every library has these members.
        let handler: &'static CHandler = unsafe { &*returned };
        if handler.version != VERSION {
            return Err(LibraryError::OtherVersion(handler.version));
        }
        if (handler.size as usize) < size_of::<CHandler>() {
            return malformed("its size is smaller than that of struct kcov_handler");
        }
        let is_longer = handler.size as usize >= size_of::<CLongerHandler>();
        // SAFETY: by the contract, it has the size that its `size` has.
        let flags = if is_longer { unsafe { (*returned.cast::<CLongerHandler>()).flags } } else { 0 };
        let unknown = flags & !IDEMPOTENT;
        if unknown != 0 {
            return malformed(&format!(
                "its flags {unknown:#x} are of a later kcov_handler.h than this program's"
            ));
        }
        // SAFETY: by the contract.
        let Some(name) = (unsafe { text(handler.name) }) else { return malformed("it has no name") };
        // SAFETY: by the contract.
        let mut claims = unsafe { call_claims(handler)? };
        // SAFETY: by the contract.
        let device_claims = unsafe { device_claims(handler)? };
        let devices = device_claims.iter().map(|(path, _)| path.clone()).collect();
        claims.extend(device_claims.into_iter().map(|(path, requests)| Claim::device(&path, requests)));
        if handler.calls_count > 0 && handler.call.is_none() {
            return malformed("it claims calls, but has no function for them");
        }
        if handler.devices_count > 0 && (handler.open.is_none() || handler.ioctl.is_none()) {
            return malformed(
                "it claims devices, but lacks the function to open them or the one for their requests",
            );
        }
        Ok(ForeignHandler { functions: handler, name, claims, devices, flags })
    }
}

/// # Safety
/// As [`ForeignHandler::new`].
unsafe fn call_claims(handler: &CHandler) -> Result<Vec<Claim>, LibraryError> {
    // SAFETY: by the contract.
    let claims = unsafe { slice(handler.calls, handler.calls_count, "calls")? };
    let claim = |claim: &CCallClaim| {
        // SAFETY: by the contract.
        let call = unsafe { text(claim.call) };
        let call = call.ok_or_else(|| LibraryError::Malformed("a call has no name".to_owned()))?;
        // SAFETY: by the contract.
        let conditions = unsafe { slice(claim.conditions, claim.conditions_count, "conditions")? };
        Ok(Claim::call_if(&call, conditions.iter().map(condition)))
    };
    claims.iter().map(claim).collect()
}

/// Returns path and requests of each device.
///
/// # Safety
/// As [`ForeignHandler::new`].
unsafe fn device_claims(handler: &CHandler) -> Result<Vec<(String, RangeInclusive<u32>)>, LibraryError> {
    // SAFETY: by the contract.
    let claims = unsafe { slice(handler.devices, handler.devices_count, "devices")? };
    let claim = |claim: &CDeviceClaim| {
        // SAFETY: by the contract.
        let path = unsafe { text(claim.path) };
        let path = path.ok_or_else(|| LibraryError::Malformed("a device has no path".to_owned()))?;
        Ok((path, claim.first..=claim.last))
    };
    claims.iter().map(claim).collect()
}

fn condition(condition: &CCondition) -> Condition {
    // A number that is out of range stays so, and is refused with all claims.
    let argument = u8::try_from(condition.argument).unwrap_or(u8::MAX);
    Condition { argument, mask: condition.mask, value: condition.value }
}

/// Converts the answer of a library. An invalid one fails the call with `EIO`.
///
/// # Safety
/// The reason is null or a string that lives as long as the process; the library owns the descriptor and
/// gives it away.
unsafe fn answer(answer: &CAnswer) -> Answer {
    const VALUE: u32 = 0;
    const DESCRIPTOR: u32 = 1;
    const CONTINUE: u32 = 2;
    match answer.kind {
        VALUE if (MIN_ERROR..0).contains(&answer.value) => Answer::Fail(Errno(-answer.value as i32)),
        VALUE => Answer::Value(answer.value),
        DESCRIPTOR if answer.fd >= 0 => {
            // SAFETY: by the contract, the library owned it and has given it away.
            let file = unsafe { OwnedFd::from_raw_fd(answer.fd) };
            Answer::Descriptor { file, close_on_exec: answer.close_on_exec != 0 }
        }
        CONTINUE if !answer.reason.is_null() => {
            // SAFETY: by the contract.
            let reason = unsafe { CStr::from_ptr::<'static>(answer.reason) };
            Answer::Continue { reason: reason.to_str().unwrap_or("not UTF-8") }
        }
        CONTINUE => Answer::Continue { reason: "no reason given" },
        _ => Answer::Fail(Errno::EIO),
    }
}

fn pointer(caller: &mut Caller<'_>) -> *mut CCaller {
    std::ptr::from_mut(caller).cast()
}

impl Handler for ForeignHandler {
    fn name(&self) -> &str {
        &self.name
    }

    fn claims(&self) -> Vec<Claim> {
        self.claims.clone()
    }

    fn idempotent(&self) -> bool {
        self.flags & IDEMPOTENT != 0
    }

    fn call(&mut self, call: &Call, caller: &mut Caller<'_>) -> Answer {
        let Some(function) = self.functions.call else { return Answer::Fail(Errno::ENOSYS) };
        let Call { tid, abi: table, number, args, .. } = *call;
        let call = CCall { tid, abi: table.number(), number, reserved: 0, args };
        // SAFETY: the function has the type of the header, and both pointers are valid during the call.
        unsafe { answer(&function(self.functions.state, &raw const call, pointer(caller))) }
    }

    fn open(
        &mut self,
        request: &OpenRequest<'_>,
        caller: &mut Caller<'_>,
    ) -> Result<Box<dyn OpenFile>, Errno> {
        let function = self.functions.open.ok_or(Errno::ENODEV)?;
        let device = self.devices.iter().position(|path| path == request.path).ok_or(Errno::ENODEV)?;
        let mut file = std::ptr::null_mut();
        // SAFETY: the function has the type of the header, and the pointers are valid during the call.
        let result = unsafe {
            function(self.functions.state, device as u32, request.flags, pointer(caller), &raw mut file)
        };
        match i64::from(result) {
            0 => Ok(Box::new(ForeignFile { functions: self.functions, file, thread: PhantomData })),
            error @ MIN_ERROR..0 => Err(Errno(-error as i32)),
            _ => Err(Errno::EIO),
        }
    }
}

/// An open file of a library's device. It stays in the thread that opened it.
struct ForeignFile {
    functions: &'static CHandler,
    file: *mut c_void,
    thread: PhantomData<Rc<()>>,
}

impl OpenFile for ForeignFile {
    fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer {
        let Some(function) = self.functions.ioctl else { return Answer::Fail(Errno::ENOTTY) };
        // SAFETY: the function has the type of the header; `open` returned the file, and it is not released.
        unsafe { answer(&function(self.functions.state, self.file, request, arg, pointer(caller))) }
    }
}

impl Drop for ForeignFile {
    fn drop(&mut self) {
        let Self { functions, file, thread: PhantomData } = self;
        if let Some(release) = functions.release {
            // SAFETY: the function has the type of the header; the file is not used after this.
            unsafe { release(functions.state, *file) }
        }
    }
}
