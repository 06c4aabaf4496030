//! Coverage-guided fuzzing of every decoder of what others wrote: one program for each kind of input, in `src/bin`.
//!
//! `deploy/fuzz` builds them with the coverage points of LLVM, which stable `rustc` gives, and runs them by libFuzzer.
//! What a decoder must hold for any bytes is asserted here: it gives a value or an error, within bounds, and a value
//! that it gives is one that its encoder makes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// If the bytes are a message, that message is one: its own encoding is no longer, and decodes to it.
///
/// # Panics
/// If that does not hold.
pub fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = kcov_proto::message::decode::<T>(bytes) else { return };
    let mut again = Vec::new();
    kcov_proto::message::encode(&message, &mut again).expect("what was decoded is within the bounds");
    assert!(again.len() <= bytes.len(), "{message:?}");
    assert_eq!(kcov_proto::message::decode::<T>(&again).expect("it was encoded"), message);
}

/// The bytes as words; what is left over is left out.
#[must_use]
pub fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?))).collect()
}
