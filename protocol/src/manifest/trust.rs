//! The keys whose signature makes a manifest trusted.

use ed25519_dalek::Signature;
use thiserror::Error;

use super::ManifestError;
use super::sign::Envelope;
use crate::keys::{KeyId, VerifyingKey};

/// Why a manifest is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustError {
    /// It cannot be read, whoever signed it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The store is empty.
    #[error("no key is trusted, so no manifest can be; name the public release key with --trust")]
    NoKeys,
    /// Signed by a key that is not in the store.
    #[error(
        "the manifest is signed by key {found}, which is not trusted (trusted: {trusted}); \
         name its public key with --trust"
    )]
    UnknownKey {
        /// The key it claims.
        found: KeyId,
        /// Ids of the trusted keys, separated by commas.
        trusted: String,
    },
    /// The key is trusted and the signature is not its.
    #[error("the signature of the manifest by key {0} is wrong: it was changed after signing, or it is a forgery")]
    BadSignature(KeyId),
}

/// A set of public keys; a signature by any one of them suffices.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    keys: Vec<VerifyingKey>,
}

impl TrustStore {
    /// A store that trusts `keys`.
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        let mut store = Self::default();
        keys.into_iter().for_each(|key| store.add(key));
        store
    }

    /// Trusts one more key.
    pub fn add(&mut self, key: VerifyingKey) {
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
    }

    /// Ids of the trusted keys.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().map(KeyId::of)
    }

    /// Whether no key is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks the signature by the key that the envelope names. `verify_strict` refuses weak keys and malleable
    /// signatures, so that every library agrees on the verdict.
    pub(super) fn check(&self, envelope: &Envelope) -> Result<(), TrustError> {
        let found = envelope.key_id();
        if self.is_empty() {
            return Err(TrustError::NoKeys);
        }
        // The id is 64 bits of a hash: two keys may share it, each gets its chance.
        let mut candidates = self.keys.iter().filter(|key| KeyId::of(key) == found).peekable();
        if candidates.peek().is_none() {
            let trusted = self.key_ids().map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
            return Err(TrustError::UnknownKey { found, trusted });
        }
        let signature = Signature::from_slice(envelope.signature()).map_err(|_| TrustError::BadSignature(found))?;
        let tbs = envelope.tbs();
        if candidates.any(|key| key.verify_strict(&tbs, &signature).is_ok()) {
            Ok(())
        } else {
            Err(TrustError::BadSignature(found))
        }
    }
}
