//! Handlers made of one closure.

use super::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};
use crate::call::Call;
use kcov_proto::Errno;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// A handler of one system call. The handler has the name of the call.
///
/// ```
/// use kcov_worker::handler;
/// use kcov_worker::harness::Harness;
///
/// let mut tenant = Harness::with([handler::call("getppid", |_, _| Ok(42))])?;
/// assert_eq!(tenant.call("getppid", [0; 6]).answer, handler::Answer::Value(42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn call<A: Into<Answer>>(
    name: &str,
    answer: impl FnMut(&Call, &mut Caller<'_>) -> A + 'static,
) -> Box<dyn Handler> {
    Box::new(CallClosure { name: name.to_owned(), answer })
}

/// A handler of a device whose open files have no state: the closure answers every request. The name of the
/// handler is the last part of the path.
///
/// ```
/// use kcov_worker::harness::Harness;
/// use kcov_worker::{Errno, handler};
///
/// let device = handler::device("/dev/twice", 0x7001..=0x7001, |_request, arg, caller| {
///     let number = u64::from_ne_bytes(caller.read_array(arg)?);
///     let twice = number.checked_mul(2).ok_or(Errno::ERANGE)?;
///     caller.write(arg, &twice.to_ne_bytes())
/// });
/// let mut tenant = Harness::with([device])?;
/// let file = tenant.open("/dev/twice", 0)?;
/// let number = tenant.map_bytes(21_u64.to_ne_bytes());
/// assert_eq!(tenant.ioctl(file, 0x7001, number).answer, handler::Answer::Value(0));
/// assert_eq!(tenant.memory(number, 8), 42_u64.to_ne_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn device<A: Into<Answer> + 'static>(
    path: &str,
    requests: RangeInclusive<u32>,
    ioctl: impl FnMut(u32, u64, &mut Caller<'_>) -> A + 'static,
) -> Box<dyn Handler> {
    Box::new(DeviceClosure { path: path.to_owned(), requests, ioctl: Rc::new(RefCell::new(ioctl)) })
}

struct CallClosure<F> {
    name: String,
    answer: F,
}

impl<A: Into<Answer>, F: FnMut(&Call, &mut Caller<'_>) -> A> Handler for CallClosure<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::call(&self.name)]
    }

    fn call(&mut self, call: &Call, caller: &mut Caller<'_>) -> Answer {
        (self.answer)(call, caller).into()
    }
}

struct DeviceClosure<F> {
    path: String,
    requests: RangeInclusive<u32>,
    ioctl: Rc<RefCell<F>>,
}

impl<A: Into<Answer> + 'static, F: FnMut(u32, u64, &mut Caller<'_>) -> A + 'static> Handler
    for DeviceClosure<F>
{
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::device(&self.path, self.requests.clone())]
    }

    fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
        Ok(Box::new(FileClosure(self.ioctl.clone())))
    }
}

/// An open file. All files share the closure, which gets one request at a time.
struct FileClosure<F>(Rc<RefCell<F>>);

impl<A: Into<Answer>, F: FnMut(u32, u64, &mut Caller<'_>) -> A> OpenFile for FileClosure<F> {
    fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer {
        (self.0.borrow_mut())(request, arg, caller).into()
    }
}
