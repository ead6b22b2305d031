//! The signed manifest: COSE_Sign1 over CBOR.

use fleetcast_protocol::manifest::{MAX_MANIFEST_LEN, Manifest, SignedManifest, TrustStore, UnverifiedManifest};
use fleetcast_protocol::policy::Acceptance;
use fleetcast_protocol::simulation::{device, release_key};
use std::sync::LazyLock;

static TRUST: LazyLock<TrustStore> = LazyLock::new(|| TrustStore::new([release_key().verifying_key()]));

/// Reads the bytes as an envelope and as the content of one.
///
/// The release key never signed anything for the fuzzer but the seeds' manifest, so that is all that may be trusted.
pub fn run(bytes: &[u8]) {
    if let Ok(content) = Manifest::from_cbor(bytes) {
        check_content(&content);
    }
    let Ok(unverified) = UnverifiedManifest::parse(bytes) else {
        assert!(SignedManifest::verify(bytes, &TRUST).is_err());
        return;
    };
    assert!(bytes.len() <= MAX_MANIFEST_LEN);
    assert_eq!(unverified.bytes(), bytes);
    check_content(unverified.manifest());
    let digest = unverified.digest();
    let verified = unverified.verify(&TRUST);
    assert_eq!(verified.is_ok(), SignedManifest::verify(bytes, &TRUST).is_ok());
    if let Ok(manifest) = verified {
        assert_eq!(digest, seed().digest(), "a forgery is trusted");
        assert!(matches!(device(None).accept(&manifest), Ok(Acceptance::New { .. })));
    }
}

/// What is read is written and read again, and can be signed.
fn check_content(content: &Manifest) {
    content.check().expect("what is read keeps the rules");
    assert_eq!(content.block_sha256.len(), usize::from(content.partition.blocks()));
    assert_eq!(Manifest::from_cbor(&content.to_cbor()).as_ref(), Ok(content));
}

/// The one manifest in the seeds that is signed with the release key.
pub fn seed() -> UnverifiedManifest {
    use fleetcast_protocol::simulation::{Release, image};
    static SEED: LazyLock<UnverifiedManifest> =
        LazyLock::new(|| Release::seal(image(5_000, 1), 64, 3, 1, &release_key()).manifest);
    SEED.clone()
}
