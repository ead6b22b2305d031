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
    let not_pem = |why: &str| KeyError::NotPem(why.to_owned(), label);
    let (_, after_begin) = pem.split_once("-----BEGIN ").ok_or_else(|| not_pem("no \"-----BEGIN\" line"))?;
    let found = after_begin.lines().next().unwrap_or_default().trim_end().trim_end_matches('-');
    if found != label {
        return Err(wrong_kind(found, label));
    }
    // Text before and after the first block is comment (RFC 7468 §2), which the parser would not take at the end.
    let end = format!("-----END {label}-----");
    let (body, _) = after_begin.split_once(&end).ok_or_else(|| not_pem("no \"-----END\" line"))?;
    let block = Zeroizing::new(format!("-----BEGIN {body}{end}\n"));
    let (_, document) = SecretDocument::from_pem(&block).map_err(|error| not_pem(&error.to_string()))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    // Made by OpenSSL 3.0: openssl genpkey -algorithm ed25519; openssl pkey -pubout; openssl pkey -text.
    const OPENSSL_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJi5cHNf31fgQTBIW2SwhiXF9jyUzRn8PtTPkN4+u+9m
-----END PRIVATE KEY-----
";
    const OPENSSL_PUB: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA0ENvSiNX8yMpl3Ur2R1d115Q/J/bgfSJittMSGh6dYQ=
-----END PUBLIC KEY-----
";
    const OPENSSL_SECRET: [u8; 32] = [
        0x98, 0xb9, 0x70, 0x73, 0x5f, 0xdf, 0x57, 0xe0, 0x41, 0x30, 0x48, 0x5b, 0x64, 0xb0, 0x86, 0x25, 0xc5, 0xf6,
        0x3c, 0x94, 0xcd, 0x19, 0xfc, 0x3e, 0xd4, 0xcf, 0x90, 0xde, 0x3e, 0xbb, 0xef, 0x66,
    ];
    const ENCRYPTED_KEY: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhr7UWw7RRjrAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEOzjPYSdfZsG/GdwhkT1Dz4EQCYm
6q7w8t++1eEqP5LhDQkbFbCqx33EqMA494ALvHz88MdeFkieo6sp+ZKgYKYJibWW
eqCV9Mp2tAuzRKs48bw=
-----END ENCRYPTED PRIVATE KEY-----
";
    const RSA_PUB: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC0jBU5/fohf22l3TOoTa27DFit
jlkj0GMKUI420r2gwmi1aLZB0SSX0rcS7QPR6wqjcgwsrhVQbSA3VsY+PTRnFho8
IzRN6RGmq3dg7kX26LSO2l5Z10zMUXNcUwK4LWfZH8WP4RuhOTxRwmWNeCbswIkx
ZI/65zPGuRbaLOZMmwIDAQAB
-----END PUBLIC KEY-----
";
    const X25519_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEINiKZ+m+2iuWb12S+AS1zmHhwLPAi6FjM6H/tpINT8ZT
-----END PRIVATE KEY-----
";

    #[test]
    fn reads_and_writes_what_openssl_does() {
        let key = signing_key_from_pem(OPENSSL_KEY).unwrap();
        assert_eq!(key.to_bytes(), OPENSSL_SECRET);
        assert_eq!(signing_key_to_pem(&signing_key_from_random(&OPENSSL_SECRET)).as_str(), OPENSSL_KEY);
        assert_eq!(verifying_key_from_pem(OPENSSL_PUB).unwrap(), key.verifying_key());
        assert_eq!(verifying_key_to_pem(&key.verifying_key()), OPENSSL_PUB);
    }

    #[test]
    fn reads_pem_from_other_systems() {
        let crlf = OPENSSL_KEY.replace('\n', "\r\n");
        assert_eq!(signing_key_from_pem(&crlf).unwrap().to_bytes(), OPENSSL_SECRET);
        let commented = format!("release key of 2031\n{OPENSSL_PUB}\n");
        assert!(verifying_key_from_pem(&commented).is_ok());
        // PKCS#8 version 2, as the ed25519 crates write it.
        let key = signing_key_from_random(&OPENSSL_SECRET);
        let v2 = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        assert_ne!(v2.as_str(), OPENSSL_KEY);
        assert_eq!(signing_key_from_pem(&v2).unwrap().to_bytes(), OPENSSL_SECRET);
    }

    #[test]
    fn key_id_is_the_start_of_the_hash() {
        // printf of the raw 32 bytes | sha256sum
        let id = KeyId::of(&verifying_key_from_pem(OPENSSL_PUB).unwrap());
        assert_eq!(id.to_string(), "e52c62cc4664e711");
    }

    fn complaint(result: Result<impl Sized, KeyError>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn says_what_was_found_instead() {
        let private = |pem: &str| complaint(signing_key_from_pem(pem));
        let public = |pem: &str| complaint(verifying_key_from_pem(pem));
        assert!(private(OPENSSL_PUB).contains("holds a PUBLIC KEY, but an Ed25519 private key"));
        assert!(public(OPENSSL_KEY).contains("holds a PRIVATE KEY, but an Ed25519 public key"));
        assert!(private(ENCRYPTED_KEY).contains("remove the passphrase"));
        assert!(public(RSA_PUB).contains("RSA"));
        assert!(private(X25519_KEY).contains("X25519"));
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(private(old).contains("RSA PRIVATE KEY"));
        assert!(private("-----BEGIN \u{1b}[31mEVIL-----\n").contains("[31mEVIL"));
        assert!(!private("-----BEGIN \u{1b}[31mEVIL-----\n").contains('\u{1b}'));
        assert!(public("-----BEGIN CERTIFICATE-----\n").contains("openssl x509"));
        assert!(private("").contains("no \"-----BEGIN\" line"));
        assert!(private("0123456789abcdef").contains("BEGIN PRIVATE KEY"));
        assert_eq!(signing_key_from_pem(&"x".repeat(MAX_PEM_LEN + 1)).err(), Some(KeyError::TooLong(MAX_PEM_LEN + 1)));
    }

    #[test]
    fn refuses_damaged_and_weak_keys() {
        let truncated = OPENSSL_KEY.replace("+u+9m", "");
        assert!(matches!(signing_key_from_pem(&truncated), Err(KeyError::NotPem(..) | KeyError::Damaged)));
        let short = "-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n";
        assert_eq!(signing_key_from_pem(short).err(), Some(KeyError::Damaged));
        let mut identity = [0; 32];
        identity[0] = 1;
        let weak = verifying_key_to_pem(&VerifyingKey::from_bytes(&identity).unwrap());
        assert_eq!(verifying_key_from_pem(&weak), Err(KeyError::Weak));
    }

    proptest::proptest! {
        #[test]
        fn mutated_pem_never_panics(at in 0usize..119, byte in 0u8..128) {
            for pem in [OPENSSL_KEY, OPENSSL_PUB] {
                let mut bytes = pem.as_bytes().to_vec();
                let at = at % bytes.len();
                bytes[at] = byte;
                let text = String::from_utf8(bytes).unwrap();
                let _ = (signing_key_from_pem(&text).is_ok(), verifying_key_from_pem(&text).is_ok());
            }
        }
    }
}
