//! The COSE_Sign1 envelope (RFC 9052 §4.2) around a manifest.
//!
//! All that counts is in the protected header: the algorithm, the content type (so that a signature made by the same
//! key over something else never passes for a manifest) and the key id. The unprotected header is empty when written
//! and ignored when read.

use ciborium::Value;
use coset::iana::{self, EnumI64};
use coset::{
    AsCborValue, CborSerializable, ContentType, CoseSign1, CoseSign1Builder, Header, HeaderBuilder,
    RegisteredLabelWithPrivate, TaggedCborSerializable,
};
use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};

use super::{MAX_MANIFEST_LEN, Manifest, ManifestError, TrustError, TrustStore};
use crate::cbor::{self, CborError};
use crate::keys::{KeyId, SigningKey};

/// Content type in the protected header.
pub const CONTENT_TYPE: &str = "application/vnd.fleetcast.manifest+cbor";

/// Longest protected header read, in bytes; ours has 55.
const MAX_PROTECTED_LEN: usize = 1024;

/// A parsed envelope of which nothing is believed yet.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    bytes: Vec<u8>,
    sign1: CoseSign1,
    key_id: KeyId,
}

impl Envelope {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(CborError::TooLong { len: bytes.len(), max: MAX_MANIFEST_LEN }.into());
        }
        let Value::Tag(CoseSign1::TAG, inner) = cbor::decode(bytes)? else {
            return Err(ManifestError::Envelope("it does not start with the COSE_Sign1 tag (18)"));
        };
        let Value::Array(mut items) = *inner else {
            return Err(ManifestError::Envelope("its COSE_Sign1 is not an array"));
        };
        let protected = items.first().and_then(Value::as_bytes);
        let protected = protected.ok_or(ManifestError::Envelope("its COSE_Sign1 has no protected header"))?;
        let key_id = read_protected(protected)?;
        // Nobody signed the unprotected header: it is neither read nor kept.
        if let Some(Value::Map(unprotected)) = items.get_mut(1) {
            unprotected.clear();
        }
        let sign1 = CoseSign1::from_cbor_value(Value::Array(items))
            .map_err(|_| ManifestError::Envelope("its COSE_Sign1 is malformed"))?;
        if sign1.payload.is_none() {
            return Err(ManifestError::Envelope("its COSE_Sign1 has a detached payload"));
        }
        Ok(Self { bytes: bytes.to_vec(), sign1, key_id })
    }

    pub(super) fn key_id(&self) -> KeyId {
        self.key_id
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.sign1.payload.as_deref().unwrap_or_default()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.sign1.signature
    }

    /// Sig_structure of RFC 9052 §4.4 with an empty external_aad.
    pub(super) fn tbs(&self) -> Vec<u8> {
        self.sign1.tbs_data(&[])
    }

    fn open(self) -> Result<UnverifiedManifest, ManifestError> {
        let manifest = Manifest::from_cbor(self.payload())?;
        let digest = Sha256::digest(self.payload()).into();
        Ok(UnverifiedManifest { envelope: self, manifest, digest })
    }
}

/// Checks a protected header and returns the key id in it.
fn read_protected(bytes: &[u8]) -> Result<KeyId, ManifestError> {
    if bytes.len() > MAX_PROTECTED_LEN {
        return Err(ManifestError::Envelope("its protected header is too long"));
    }
    let no_algorithm = || ManifestError::Algorithm("no algorithm in its protected header".into());
    if bytes.is_empty() {
        return Err(no_algorithm()); // the short form of an empty map, RFC 9052 §3
    }
    cbor::decode(bytes)?; // bounds the depth before coset reads it
    let header = Header::from_slice(bytes).map_err(|_| ManifestError::Envelope("its protected header is malformed"))?;
    match &header.alg {
        Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::EdDSA)) => {}
        Some(RegisteredLabelWithPrivate::Assigned(other)) => {
            return Err(ManifestError::Algorithm(format!("COSE algorithm {}", other.to_i64())));
        }
        Some(_) => return Err(ManifestError::Algorithm("a private algorithm".into())),
        None => return Err(no_algorithm()),
    }
    if !header.crit.is_empty() {
        return Err(ManifestError::CriticalHeader);
    }
    if header.content_type != Some(ContentType::Text(CONTENT_TYPE.into())) {
        return Err(ManifestError::Envelope("the content type in its protected header is another one"));
    }
    let kid = <[u8; 8]>::try_from(header.key_id.as_slice())
        .map_err(|_| ManifestError::Envelope("the key id in its protected header is not 8 bytes"))?;
    Ok(KeyId(kid))
}

/// A manifest that nobody vouches for: its signature has not been checked.
///
/// It is enough to send an image (a sender holds no key) and to show what a file says. It converts into a
/// [`SignedManifest`] only by [`UnverifiedManifest::verify`].
#[derive(Debug, Clone)]
pub struct UnverifiedManifest {
    envelope: Envelope,
    manifest: Manifest,
    digest: [u8; 32],
}

impl UnverifiedManifest {
    /// Parses an envelope and its content, without looking at the signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        Envelope::parse(bytes)?.open()
    }

    /// Checks the signature against the trusted keys.
    pub fn verify(self, trust: &TrustStore) -> Result<SignedManifest, TrustError> {
        trust.check(&self.envelope)?;
        Ok(SignedManifest(self))
    }

    /// The COSE_Sign1 as in the `.fcm` file and on TOI 1.
    pub fn bytes(&self) -> &[u8] {
        &self.envelope.bytes
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the signed payload: the identity of the upgrade, which no unprotected header can change.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The key that it claims to be signed with.
    pub fn key_id(&self) -> KeyId {
        self.envelope.key_id
    }

    /// The bytes under the signature (Sig_structure of RFC 9052 §4.4), for checks by other tools.
    pub fn tbs(&self) -> Vec<u8> {
        self.envelope.tbs()
    }

    /// The signature, 64 bytes when it is one of Ed25519.
    pub fn signature(&self) -> &[u8] {
        self.envelope.signature()
    }
}

/// A manifest with a good signature by a trusted key.
#[derive(Debug, Clone)]
pub struct SignedManifest(UnverifiedManifest);

impl SignedManifest {
    /// Signs `manifest`; an error when a field breaks its rules.
    pub fn sign(manifest: &Manifest, key: &SigningKey) -> Result<Self, ManifestError> {
        manifest.check()?;
        let protected = HeaderBuilder::new()
            .algorithm(iana::Algorithm::EdDSA)
            .content_type(CONTENT_TYPE.into())
            .key_id(KeyId::of(&key.verifying_key()).0.to_vec())
            .build();
        let bytes = CoseSign1Builder::new()
            .protected(protected)
            .payload(manifest.to_cbor())
            .create_signature(&[], |tbs| key.sign(tbs).to_bytes().to_vec())
            .build()
            .to_tagged_vec()
            .map_err(|_| ManifestError::Envelope("it cannot be encoded"))?;
        // What is read back is what receivers will see, so that nothing leaves here that they refuse.
        Ok(Self(UnverifiedManifest::parse(&bytes)?))
    }

    /// Parses an envelope, checks its signature, and only then reads its content.
    pub fn verify(bytes: &[u8], trust: &TrustStore) -> Result<Self, TrustError> {
        let envelope = Envelope::parse(bytes)?;
        trust.check(&envelope)?;
        Ok(Self(envelope.open()?))
    }

    /// The same as [`UnverifiedManifest::parse`]: what comes out is *not* a [`SignedManifest`].
    pub fn parse_unverified(bytes: &[u8]) -> Result<UnverifiedManifest, ManifestError> {
        UnverifiedManifest::parse(bytes)
    }

    /// The COSE_Sign1 as in the `.fcm` file and on TOI 1.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        self.0.manifest()
    }

    /// SHA-256 of the signed payload: the identity of the upgrade, which no unprotected header can change.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest()
    }

    /// The key that signed it.
    pub fn key_id(&self) -> KeyId {
        self.0.key_id()
    }

    /// The bytes under the signature (Sig_structure of RFC 9052 §4.4), for checks by other tools.
    pub fn tbs(&self) -> Vec<u8> {
        self.0.tbs()
    }

    /// The signature, 64 bytes.
    pub fn signature(&self) -> &[u8] {
        self.0.signature()
    }
}
