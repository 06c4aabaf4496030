//! Which calls are ours: those that a handler claims, and the requests of the KCOV device and of handlers' devices.
//!
//! Only these may fail because of us. Every other call is run by the kernel if its worker dies, hangs or is late; at most a
//! record is lost. A worker that was taken over can name another call than it has. It gains nothing by that: it could let
//! its tenant's call continue itself.

use crate::launch::call_name;
use crate::sandbox::filter::OPENS;
use kcov_proto::abi;
use kcov_proto::claims::{Claims, Condition};
use kcov_proto::message::Order;
use std::collections::HashMap;

/// The calls that are ours.
#[derive(Debug)]
pub struct Claimed {
    /// By name: the conditions of each claim.
    calls: HashMap<String, Vec<Vec<Condition>>>,
    /// First and last request of each handler's device.
    requests: Vec<(u32, u32)>,
}

impl Claimed {
    /// Those of these claims, and of the KCOV device.
    #[must_use]
    pub fn new(claims: &Claims) -> Self {
        let mut calls: HashMap<String, Vec<Vec<Condition>>> = HashMap::new();
        for claim in claims.calls() {
            calls.entry(claim.call.clone()).or_default().push(claim.when.clone());
        }
        let requests = claims.devices().map(|device| (device.first, device.last));
        Claimed { calls, requests: requests.collect() }
    }

    /// Whether the call is ours.
    #[must_use]
    pub fn has(&self, call: &Order) -> bool {
        let Order::Call { arch, number, args, .. } = call else { return true };
        let name = call_name(*arch, *number);
        let is_claimed = self.calls.get(&name).is_some_and(|claims| {
            claims.iter().any(|conditions| conditions.iter().all(|condition| condition.holds(args)))
        });
        is_claimed || name == "ioctl" && self.has_request(args[1] as u32)
    }

    /// Whether the call may open a handler's device.
    #[must_use]
    pub fn may_open_a_device(&self, call: &Order) -> bool {
        let Order::Call { arch, number, .. } = call else { return false };
        !self.requests.is_empty() && OPENS.contains(&call_name(*arch, *number).as_str())
    }

    fn has_request(&self, request: u32) -> bool {
        let of_a_handler = |&(first, last): &(u32, u32)| (first..=last).contains(&request);
        abi::is_kcov_request(request) || self.requests.iter().any(of_a_handler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::claims::{CallClaim, DeviceClaim, HandlerClaims};

    const X86_64: u32 = 0xc000_003e;

    fn call(number: i64, args: [u64; 6]) -> Order {
        Order::Call { id: 1, tid: 1, arch: X86_64, number: number as i32, args }
    }

    #[test]
    fn without_handlers_only_kcov_requests_are_ours() {
        let claimed = Claimed::new(&Claims::default());
        assert!(claimed.has(&call(libc::SYS_ioctl, [3, 0xffff_ffff_8008_6301, 0, 0, 0, 0])));
        for number in [libc::SYS_ioctl, libc::SYS_futex, libc::SYS_mmap, libc::SYS_execve, libc::SYS_openat] {
            assert!(!claimed.has(&call(number, [3, 0x5401, 0, 0, 0, 0])), "{number}");
        }
    }

    #[test]
    fn claims_count_with_their_conditions() {
        let when = vec![Condition::low(0, 7)];
        let calls = vec![
            CallClaim { call: "socket".into(), when },
            CallClaim { call: "getppid".into(), when: Vec::new() },
        ];
        let devices = vec![DeviceClaim { path: "/dev/x".into(), first: 16, last: 31 }];
        let handler = HandlerClaims { name: "x".into(), calls, devices, idempotent: false };
        let claimed = Claimed::new(&Claims { handlers: vec![handler] });
        assert!(claimed.has(&call(libc::SYS_socket, [7, 0, 0, 0, 0, 0])));
        assert!(!claimed.has(&call(libc::SYS_socket, [8, 0, 0, 0, 0, 0])));
        assert!(claimed.has(&call(libc::SYS_getppid, [0; 6])));
        assert!(claimed.has(&call(libc::SYS_ioctl, [3, 31, 0, 0, 0, 0])));
        assert!(!claimed.has(&call(libc::SYS_ioctl, [3, 32, 0, 0, 0, 0])));
    }
}
