//! A receiver's word in a feedback round.

use fleetcast_protocol::feedback::{Feedback, MAX_FEEDBACK_LEN};

/// Reads feedback; what was read is written within its bound and reads the same.
pub fn run(bytes: &[u8]) {
    let Ok(read) = Feedback::from_cbor(bytes) else { return };
    let written = read.to_cbor();
    assert!(written.len() <= MAX_FEEDBACK_LEN);
    assert_eq!(Feedback::from_cbor(&written), Ok(read));
}
