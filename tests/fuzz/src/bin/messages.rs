//! Messages between processes: from worker, zygote and reader to the broker, and from clients to a service.
//! The first byte selects the kind.
#![no_main]

use kcov_broker::service::control::message as control;
use kcov_fuzz::message;
use kcov_proto::message::{
    Forward, Heartbeat, Order, ReaderReply, ReaderRequest, Reply, Request, ZygoteReply, ZygoteRequest,
};
use libfuzzer_sys::fuzz_target;

const KINDS: [fn(&[u8]); 11] = [
    message::<Request>,
    message::<Reply>,
    message::<Heartbeat>,
    message::<Order>,
    message::<ReaderRequest>,
    message::<ReaderReply>,
    message::<ZygoteRequest>,
    message::<ZygoteReply>,
    message::<Forward>,
    message::<control::Request>,
    message::<control::Reply>,
];

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    if let Some(check) = KINDS.get(usize::from(*kind)) {
        check(bytes);
    }
});
