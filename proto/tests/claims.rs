//! Claims of handlers: their checks, and the blocks that cover a range of requests.

use kcov_proto::claims::{
    CallClaim, ClaimError, Claims, Condition, DeviceClaim, HandlerClaims, MAX_CALLS, MAX_HANDLERS,
};
use proptest::prelude::*;

fn device(path: &str, first: u32, last: u32) -> DeviceClaim {
    DeviceClaim { path: path.to_owned(), first, last }
}

fn of(calls: Vec<CallClaim>, devices: Vec<DeviceClaim>) -> Claims {
    Claims { handlers: vec![HandlerClaims { name: "mine".into(), calls, devices, idempotent: false }] }
}

fn call(call: &str, when: &[Condition]) -> CallClaim {
    CallClaim { call: call.to_owned(), when: when.to_vec() }
}

proptest! {
    #[test]
    fn blocks_cover_exactly_the_range(a: u32, b: u32, probes: [u32; 16]) {
        let claim = device("/dev/x", a.min(b), a.max(b));
        let blocks = claim.blocks();
        prop_assert!(blocks.len() <= 62);
        let edges = [claim.first, claim.last, claim.first.wrapping_sub(1), claim.last.wrapping_add(1)];
        for request in probes.into_iter().chain(edges) {
            let hits = blocks.iter().filter(|block| request & block.mask == block.value).count();
            prop_assert_eq!(hits, usize::from(claim.takes(request)), "{:#x}", request);
        }
    }

    #[test]
    fn checking_never_panics(text in ".{0,100}", path in "(/dev/)?.{0,100}", a: u32, b: u32, argument: u8, mask: u64, value: u64) {
        let claims = Claims { handlers: vec![HandlerClaims {
            name: text.clone(),
            calls: vec![call(&text, &[Condition { argument, mask, value }])],
            devices: vec![device(&path, a, b)],
            idempotent: false,
        }] };
        if claims.check().is_ok() {
            prop_assert!(claims.devices().all(|device| device.names().is_some()));
        }
    }
}

#[test]
fn the_whole_range_is_one_block() {
    let blocks = device("/dev/x", 0, u32::MAX).blocks();
    assert_eq!(blocks.len(), 1);
    assert_eq!((blocks[0].mask, blocks[0].value), (0, 0));
}

#[test]
fn valid_claims_pass() {
    let good = of(
        vec![call("getpid", &[]), call("ioctl", &[Condition::low(1, 0x1234), Condition::is(2, 0)])],
        vec![device("/dev/foo", 0, 0), device("/dev/bar/foo-1", 5, 9)],
    );
    assert_eq!(good.check(), Ok(()));
    assert!(!good.is_empty());
    assert_eq!(Claims::default().check(), Ok(()));
    assert!(Claims::default().is_empty());
}

#[test]
fn each_fault_has_its_error() {
    let path = |path: &str| of(vec![], vec![device(path, 0, 1)]).check();
    for bad in [
        "",
        "/dev",
        "/dev/",
        "/dev/..",
        "/dev/a/b/c",
        "/dev/a/",
        "/dev//a",
        "/etc/passwd",
        "/dev/a b",
        "dev/a",
    ] {
        assert!(matches!(path(bad), Err(ClaimError::Path { .. })), "{bad}");
    }
    for taken in ["/dev/kcov", "/dev/kcov/x"] {
        assert!(matches!(path(taken), Err(ClaimError::Taken { .. })), "{taken}");
    }
    let twice = of(vec![], vec![device("/dev/a", 0, 1), device("/dev/a/b", 0, 1)]).check();
    assert!(matches!(twice, Err(ClaimError::Taken { .. })));
    assert!(matches!(of(vec![], vec![device("/dev/a", 2, 1)]).check(), Err(ClaimError::Requests { .. })));
    for (bad, reason) in [
        (vec![Condition::is(6, 0)], "argument 6"),
        (vec![Condition::is(1, 0), Condition::low(1, 0)], "two conditions"),
        (vec![Condition::masked(0, 1, 2)], "outside the mask"),
    ] {
        let error = of(vec![call("read", &bad)], vec![]).check().expect_err(reason).to_string();
        assert!(error.contains(reason) && error.contains("mine") && error.contains("read"), "{error}");
    }
    assert!(matches!(of(vec![call("", &[])], vec![]).check(), Err(ClaimError::Call { .. })));
    assert!(matches!(of(vec![call("Read", &[])], vec![]).check(), Err(ClaimError::Call { .. })));
    let many = of(vec![call("read", &[]); MAX_CALLS + 1], vec![]).check();
    assert!(matches!(many, Err(ClaimError::Many { .. })));
    let named = HandlerClaims { name: "a".into(), ..HandlerClaims::default() };
    let many = Claims { handlers: vec![named; MAX_HANDLERS + 1] };
    assert!(matches!(many.check(), Err(ClaimError::Many { .. })));
    let nameless = Claims { handlers: vec![HandlerClaims::default()] };
    assert!(matches!(nameless.check(), Err(ClaimError::Name(_))));
}
