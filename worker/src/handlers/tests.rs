use super::*;

/// Claims `getpid` and `getuid`, or only the latter if `picky`.
#[derive(Debug)]
struct TestHandler {
    idempotent: bool,
    picky: bool,
}

impl Handler for TestHandler {
    fn name(&self) -> &str {
        if self.picky { "picky" } else { "plain" }
    }
    fn claims(&self) -> Vec<Claim> {
        let calls = if self.picky { &["getuid"][..] } else { &["getpid", "getuid"] };
        calls.iter().map(|call| Claim::call(call)).collect()
    }
    fn idempotent(&self) -> bool {
        self.idempotent
    }
}

fn call(number: i64) -> Call {
    Call { id: 1, tid: 1, abi: Abi::Native, number: number as i32, args: [0; 6] }
}

#[test]
fn a_call_is_repeatable_if_all_its_claimants_are_idempotent() -> Result<(), ClaimError> {
    let handlers = |plain, picky| {
        let plain = TestHandler { idempotent: plain, picky: false };
        let picky = TestHandler { idempotent: picky, picky: true };
        Handlers::new(vec![Box::new(plain), Box::new(picky)])
    };
    for (plain, picky) in [(false, false), (false, true), (true, false), (true, true)] {
        let handlers = handlers(plain, picky)?;
        assert_eq!(handlers.is_repeatable(&call(libc::SYS_getpid)), plain);
        assert_eq!(handlers.is_repeatable(&call(libc::SYS_getuid)), plain && picky);
    }
    Ok(())
}

#[test]
fn a_harness_refuses_an_unknown_call() {
    use crate::handler;
    use crate::harness::Harness;
    let refused = Harness::with([handler::call("frobnicate", |_, _| Ok(0))]).err();
    let name = || "frobnicate".to_owned();
    assert_eq!(refused, Some(ClaimError::Call { handler: name(), call: name() }));
    assert!(Harness::with([handler::call("getppid", |_, _| Ok(0))]).is_ok());
}
