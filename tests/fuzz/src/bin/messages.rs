//! Messages between processes: from worker, zygote and reader to the broker, and from clients to a service.
//! The first byte selects the kind.
#![no_main]

use kcov_broker::service::control::message::{Reply, Request};
use kcov_fuzz::message;
use kcov_proto::message::{
    Assist, AssistReply, Heartbeat, Order, ReaderReply, ReaderRequest, ZygoteReply, ZygoteRequest,
};
use libfuzzer_sys::fuzz_target;

const KINDS: [fn(&[u8]); 10] = [
    message::<Assist>,
    message::<AssistReply>,
    message::<Heartbeat>,
    message::<Order>,
    message::<ReaderRequest>,
    message::<ReaderReply>,
    message::<ZygoteRequest>,
    message::<ZygoteReply>,
    message::<Request>,
    message::<Reply>,
];

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    if let Some(check) = KINDS.get(usize::from(*kind)) {
        check(bytes);
    }
});
