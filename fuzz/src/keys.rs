//! Key files, and the hexadecimal of digests.

use fleetcast_protocol::hex;
use fleetcast_protocol::keys::{
    signing_key_from_pem, signing_key_to_pem, verifying_key_from_pem, verifying_key_to_pem,
};

/// Reads a private and a public key; what was read is written and read again.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(key) = signing_key_from_pem(text) {
        let again = signing_key_from_pem(&signing_key_to_pem(&key)).expect("what was written can be read");
        assert_eq!(again.to_bytes(), key.to_bytes());
    }
    if let Ok(key) = verifying_key_from_pem(text) {
        assert!(!key.is_weak());
        assert_eq!(verifying_key_from_pem(&verifying_key_to_pem(&key)), Ok(key));
    }
    if let Some(digest) = hex::decode_sha256(text) {
        assert!(hex::encode(&digest).eq_ignore_ascii_case(text));
    }
}
