//! Coverage-guided fuzzing of every decoder of untrusted input: one program for each kind of input, in
//! `src/bin`.
//!
//! `deploy/fuzz` builds the programs with LLVM's coverage points, which stable `rustc` can insert, and runs
//! them with libFuzzer. They assert what must hold for any bytes: the decoder returns a value or an error,
//! within bounds, and a decoded value encodes to bytes that decode to the same value.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// If the bytes decode to a message, encodes it again: the result is not longer and decodes to the same
/// message.
///
/// # Panics
/// If that does not hold.
pub fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = kcov_proto::message::decode::<T>(bytes) else { return };
    let mut again = Vec::new();
    kcov_proto::message::encode(&message, &mut again).expect("a decoded message is within the bounds");
    assert!(again.len() <= bytes.len(), "{message:?}");
    assert_eq!(kcov_proto::message::decode::<T>(&again).expect("an encoded message decodes"), message);
}

/// The bytes as words, without an incomplete last one.
#[must_use]
pub fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?))).collect()
}
