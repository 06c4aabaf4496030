//! Decoders of untrusted bytes return a message or an error for any input, and accept only bytes that are
//! exactly one message.
//!
//! `KCOV_LONG=1 cargo test --release -p kcov-proto --test decode_properties` runs as many cases as a short
//! fuzzing session: half of them noise, half of them messages with a few changed bytes.
#![cfg(not(loom))]

mod cases;
mod messages;

use kcov_proto::Errno;
use kcov_proto::abi::{REMOTE_ARG_BYTES, REMOTE_MAX_HANDLES, RemoteArg};
use kcov_proto::claims::{
    CallClaim, Claims, Condition, DeviceClaim, HandlerClaims, MAX_CALLS, MAX_DEVICES, MAX_HANDLERS, MAX_NAME,
};
use kcov_proto::message::{
    Forward, MAX_BYTES, MAX_READ, MAX_WRITE, MessageError, Order, ReaderKind, ReaderReply, ReaderRequest,
    Reply, Request, ZygoteReply, ZygoteRequest, decode, encode,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

fn bytes_of<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = vec![0xee; 3];
    encode(message, &mut bytes).expect("a message within its bounds encodes");
    bytes
}

/// Checks one message: it decodes to itself; a prefix of it, or it with trailing bytes, is refused.
fn check<T>(message: &T, cut: Index, more: &[u8]) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let mut bytes = bytes_of(message);
    prop_assert!(bytes.len() <= MAX_BYTES);
    prop_assert_eq!(&decode::<T>(&bytes).expect("an encoded message decodes"), message);
    let part = &bytes[..cut.index(bytes.len())];
    prop_assert!(matches!(decode::<T>(part), Err(MessageError::Decode(_))));
    bytes.extend(more);
    match decode::<T>(&bytes) {
        Err(MessageError::Trailing(left)) => prop_assert_eq!(left, more.len()),
        Err(MessageError::TooLong { bytes: length }) => {
            prop_assert!(length > MAX_BYTES && length == bytes.len())
        }
        other => prop_assert!(false, "{:?}", other),
    }
    Ok(())
}

/// Checks arbitrary bytes: if they decode to a message, that message encodes and decodes to itself.
fn check_noise<T>(bytes: &[u8]) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    if let Ok(message) = decode::<T>(bytes) {
        let again = bytes_of(&message);
        prop_assert!(again.len() <= bytes.len(), "the encoding is longer than the input");
        prop_assert_eq!(decode::<T>(&again).expect("an encoded message decodes"), message);
    }
    Ok(())
}

fn check_noise_as_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    check_noise::<Request>(bytes)?;
    check_noise::<Reply>(bytes)?;
    check_noise::<Forward>(bytes)?;
    check_noise::<Order>(bytes)?;
    check_noise::<ReaderRequest>(bytes)?;
    check_noise::<ReaderReply>(bytes)?;
    check_noise::<ZygoteRequest>(bytes)?;
    check_noise::<ZygoteReply>(bytes)
}

/// An encoded message of any type.
fn encoded() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        messages::request().prop_map(|message| bytes_of(&message)),
        messages::reply().prop_map(|message| bytes_of(&message)),
        messages::order().prop_map(|message| bytes_of(&message)),
        messages::reader_request().prop_map(|message| bytes_of(&message)),
        messages::reader_reply().prop_map(|message| bytes_of(&message)),
        messages::zygote_request().prop_map(|message| bytes_of(&message)),
        messages::zygote_reply().prop_map(|message| bytes_of(&message)),
    ]
}

/// Bytes that are significant to the decoder: tags, bincode's length markers (251 to 253), all ones.
fn significant_byte() -> impl Strategy<Value = u8> {
    prop_oneof![0..9_u8, 250..=255_u8, any::<u8>()]
}

fn more() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..20)
}

macro_rules! every_message {
    ($($name:ident: $strategy:ident;)*) => {
        proptest! {
            #![proptest_config(cases::config())]
            $(
                #[test]
                fn $name(message in messages::$strategy(), cut: Index, more in more()) {
                    check(&message, cut, &more)?;
                }
            )*
        }
    };
}

every_message! {
    a_request_is_itself: request;
    a_reply_is_itself: reply;
    a_forwarded_call_is_itself: forward;
    an_order_is_itself: order;
    a_reader_request_is_itself: reader_request;
    a_reader_reply_is_itself: reader_reply;
    a_zygote_request_is_itself: zygote_request;
    a_zygote_reply_is_itself: zygote_reply;
}

/// The bytes of `struct kcov_remote_arg` in the caller's memory (include/uapi/linux/kcov.h).
fn remote_arg_bytes(arg: &RemoteArg, number: u32, pad: u32) -> Vec<u8> {
    let words = [arg.trace_mode, arg.area_size, number, pad].map(u32::to_ne_bytes).concat();
    let handles = arg.handles.iter().flat_map(|handle| handle.to_ne_bytes());
    words.into_iter().chain(arg.common_handle.to_ne_bytes()).chain(handles).collect()
}

proptest! {
    #![proptest_config(cases::config())]

    #[test]
    fn noise_decodes_or_is_refused(bytes in vec(significant_byte(), 0..200)) {
        check_noise_as_all(&bytes)?;
    }

    #[test]
    fn a_changed_message_decodes_or_is_refused(
        mut bytes in encoded(),
        changes in vec((any::<Index>(), significant_byte()), 1..5),
        cut in prop::option::of(any::<Index>()),
    ) {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check_noise_as_all(&bytes)?;
    }

    #[test]
    fn a_remote_argument_decodes_to_its_fields(arg in messages::remote_arg(), pad: u32, more in more(), cut: Index) {
        let number = arg.handles.len() as u32;
        let mut bytes = remote_arg_bytes(&arg, number, pad);
        prop_assert_eq!(RemoteArg::decode(&bytes, number), Ok(arg));
        prop_assert_eq!(RemoteArg::decode(&bytes[..cut.index(bytes.len())], number), Err(Errno::EINVAL));
        bytes.extend(more);
        prop_assert_eq!(RemoteArg::decode(&bytes, number), Err(Errno::EINVAL));
    }

    /// `num_handles` differs between the two reads, or is too large.
    #[test]
    fn a_remote_argument_with_a_changed_number_is_refused(
        arg in messages::remote_arg(),
        first in prop_oneof![0..300_u32, any::<u32>()],
        second in prop_oneof![0..300_u32, any::<u32>()],
    ) {
        let bytes = remote_arg_bytes(&arg, second, 0);
        let holds = first == second && first as usize == arg.handles.len();
        prop_assert_eq!(RemoteArg::decode(&bytes, first).is_ok(), holds);
    }

    #[test]
    fn noise_as_a_remote_argument_decodes_or_is_refused(bytes in vec(any::<u8>(), 0..100), expected in 0..12_u32) {
        if let Ok(arg) = RemoteArg::decode(&bytes, expected) {
            prop_assert_eq!(arg.handles.len(), expected as usize);
            prop_assert_eq!(bytes.len(), REMOTE_ARG_BYTES + 8 * arg.handles.len());
        }
    }
}

/// Claims that reach every limit at once.
fn largest_claims() -> Claims {
    let name = "n".repeat(MAX_NAME);
    let when = (0..6).map(|argument| Condition::is(argument, u64::MAX)).collect();
    let call = CallClaim { call: "c".repeat(MAX_NAME), when };
    let empty = HandlerClaims { name: name.clone(), ..HandlerClaims::default() };
    let mut handlers = vec![empty; MAX_HANDLERS];
    handlers[0].calls = vec![call; MAX_CALLS];
    handlers[0].devices = (0..MAX_DEVICES)
        .map(|number| DeviceClaim { path: format!("/dev/{name}/{number:0>64}"), first: 0, last: u32::MAX })
        .collect();
    let claims = Claims { handlers };
    assert_eq!(claims.check(), Ok(()));
    claims
}

/// The maximum sizes in the tables of `message` fit into one message.
#[test]
fn the_largest_messages_fit() {
    assert!(bytes_of(&ReaderReply::Memory(vec![255; MAX_READ])).len() <= MAX_BYTES);
    let what = ReaderKind::Write { address: u64::MAX, bytes: vec![255; MAX_WRITE] };
    assert!(bytes_of(&ReaderRequest { id: u64::MAX, tid: u32::MAX, what }).len() <= MAX_BYTES);
    assert!(bytes_of(&ZygoteReply::Ready { claims: largest_claims() }).len() <= MAX_BYTES);
    let arg = RemoteArg {
        trace_mode: u32::MAX,
        area_size: u32::MAX,
        common_handle: u64::MAX,
        handles: vec![u64::MAX; REMOTE_MAX_HANDLES as usize],
    };
    assert!(bytes_of(&arg).len() < MAX_BYTES / 16);
    let laid = remote_arg_bytes(&arg, REMOTE_MAX_HANDLES, 0);
    assert_eq!(RemoteArg::decode(&laid, REMOTE_MAX_HANDLES), Ok(arg));
}

/// One byte more than allowed, for both encoder and decoder.
#[test]
fn a_message_that_is_too_long_is_refused() {
    let mut buffer = Vec::new();
    assert!(encode(&ReaderReply::Memory(vec![0; MAX_BYTES]), &mut buffer).is_err());
    let too_long = decode::<ReaderReply>(&vec![0; MAX_BYTES + 1]);
    assert!(matches!(too_long, Err(MessageError::TooLong { bytes }) if bytes == MAX_BYTES + 1));
    let trailing = decode::<ReaderReply>(&vec![0; MAX_BYTES]);
    assert!(matches!(trailing, Err(MessageError::Trailing(_))), "{trailing:?}");
}

/// One handle more than allowed, with bytes for all of them.
#[test]
fn too_many_handles_are_refused() {
    let number = REMOTE_MAX_HANDLES + 1;
    let arg = RemoteArg { trace_mode: 0, area_size: 0, common_handle: 0, handles: vec![0; number as usize] };
    assert_eq!(RemoteArg::decode(&remote_arg_bytes(&arg, number, 0), number), Err(Errno::EINVAL));
    assert_eq!(RemoteArg::decode(&remote_arg_bytes(&arg, u32::MAX, 0), u32::MAX), Err(Errno::EINVAL));
}
