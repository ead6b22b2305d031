//! Ed25519 release keys in the files that OpenSSL reads and writes: PKCS#8 and SPKI PEM (RFC 8410, RFC 7468).
//!
//! No randomness and no files here: the caller brings 32 random bytes and stores the text.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
pub use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use ed25519_dalek::pkcs8::spki::der::{Decode, SecretDocument};
use ed25519_dalek::pkcs8::spki::{self, EncodePublicKey};
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes, PrivateKeyInfoRef};
pub use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A key file is read up to this length, in bytes; ours have about 120, a 16 kbit RSA key about 13,000.
pub const MAX_PEM_LEN: usize = 16 * 1024;

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// Short name of a public key: the first 8 bytes of the SHA-256 of its raw 32 bytes.
///
/// It only picks a key among the trusted ones (the COSE `kid`), so a collision costs one more signature check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// The id of `key`.
    pub fn of(key: &VerifyingKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a file is not the key that is needed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Refused before parsing.
    #[error("the file has {0} bytes, too long for a key (at most {MAX_PEM_LEN})")]
    TooLong(usize),
    /// No `-----BEGIN …-----`, or a damaged body.
    #[error("the file holds no readable PEM key ({0}); expected one that starts with \"-----BEGIN {1}-----\"")]
    NotPem(String, &'static str),
    /// A PEM file of another kind.
    #[error("the file holds a {found}, but {wanted} is needed{hint}")]
    Kind {
        /// What the PEM label says.
        found: String,
        /// What was asked for.
        wanted: &'static str,
        /// What to do about it, or empty.
        hint: &'static str,
    },
    /// A key of another algorithm.
    #[error(
        "the file holds a key for {found}, but an Ed25519 key is needed; make one with `fleetcast-send keygen` \
         or `openssl genpkey -algorithm ed25519`"
    )]
    Algorithm {
        /// Name or OID of the algorithm found.
        found: String,
    },
    /// The right kind and algorithm, with a content that cannot be.
    #[error("the Ed25519 key in the file is damaged")]
    Damaged,
    /// A point of small order: anybody could sign for it.
    #[error("the Ed25519 public key in the file is weak (of small order) and must not be trusted")]
    Weak,
}

/// Makes a signing key of 32 bytes, which must come from the system's random generator.
pub fn signing_key_from_random(random: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(random)
}

/// PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`), wiped from memory when dropped.
///
/// Version 1, without the public key: OpenSSL 3.0 does not read version 2 of RFC 5958.
pub fn signing_key_to_pem(key: &SigningKey) -> Zeroizing<String> {
    let bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    bytes.to_pkcs8_pem(LineEnding::LF).expect("48 bytes of DER always fit a PEM text")
}

/// Reads a private key in PKCS#8 PEM, version 1 or 2.
pub fn signing_key_from_pem(pem: &str) -> Result<SigningKey, KeyError> {
    let document = read_pem(pem, PRIVATE)?;
    let info = PrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|_| KeyError::Damaged)?;
    check_algorithm(&info.algorithm.oid.to_string())?;
    SigningKey::try_from(info).map_err(|_| KeyError::Damaged)
}

/// SPKI PEM (`-----BEGIN PUBLIC KEY-----`).
pub fn verifying_key_to_pem(key: &VerifyingKey) -> String {
    key.to_public_key_pem(LineEnding::LF).expect("44 bytes of DER always fit a PEM text")
}

/// Reads a public key in SPKI PEM.
pub fn verifying_key_from_pem(pem: &str) -> Result<VerifyingKey, KeyError> {
    let document = read_pem(pem, PUBLIC)?;
    let info = spki::SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(|_| KeyError::Damaged)?;
    check_algorithm(&info.algorithm.oid.to_string())?;
    let key = VerifyingKey::try_from(info).map_err(|_| KeyError::Damaged)?;
    if key.is_weak() { Err(KeyError::Weak) } else { Ok(key) }
}

/// The DER of a PEM text whose label is `label`.
fn read_pem(pem: &str, label: &'static str) -> Result<SecretDocument, KeyError> {
    if pem.len() > MAX_PEM_LEN {
        return Err(KeyError::TooLong(pem.len()));
    }
    // The first label says what the file is, even where its body has a form (RFC 1421 headers) that is not read.
    let found = pem
        .lines()
        .find_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .ok_or_else(|| KeyError::NotPem("no \"-----BEGIN\" line".into(), label))?;
    if found != label {
        return Err(wrong_kind(found, label));
    }
    let (_, document) = SecretDocument::from_pem(pem).map_err(|error| KeyError::NotPem(error.to_string(), label))?;
    Ok(document)
}

fn wrong_kind(label: &str, wanted_label: &str) -> KeyError {
    let wanted = if wanted_label == PUBLIC { "an Ed25519 public key" } else { "an Ed25519 private key (PKCS#8)" };
    let hint = match label {
        "ENCRYPTED PRIVATE KEY" => "; remove the passphrase with `openssl pkey -in FILE -out PLAIN`",
        PUBLIC => "; this is the half that receivers trust, name the private key file",
        PRIVATE => "; name the public key file, or make it with `openssl pkey -in FILE -pubout`",
        "CERTIFICATE" => "; take the key out with `openssl x509 -in FILE -noout -pubkey`",
        _ => "; make one with `fleetcast-send keygen`",
    };
    // The label is text from a file: keep what ends up on a terminal short and printable.
    let found = label.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(40).collect();
    KeyError::Kind { found, wanted, hint }
}

fn check_algorithm(oid: &str) -> Result<(), KeyError> {
    let name = match oid {
        "1.3.101.112" => return Ok(()),
        "1.2.840.113549.1.1.1" => "RSA",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.10045.2.1" => "ECDSA (an elliptic curve of NIST or similar)",
        "1.2.840.10040.4.1" => "DSA",
        "1.3.101.110" => "X25519 (key agreement, it cannot sign)",
        "1.3.101.111" => "X448 (key agreement, it cannot sign)",
        "1.3.101.113" => "Ed448",
        other => other,
    };
    Err(KeyError::Algorithm { found: name.to_owned() })
}
