//! What must hold for manifests: one meaning has one encoding, nothing unsigned passes, and no bytes make it panic.

use ciborium::Value;
use coset::{CborSerializable, CoseSign1, Header, HeaderBuilder, TaggedCborSerializable, iana};
use ed25519_dalek::Signer;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::keys::{KeyId, SigningKey, signing_key_from_random};

fn key() -> SigningKey {
    signing_key_from_random(&[7; 32])
}

fn trust() -> TrustStore {
    TrustStore::new([key().verifying_key()])
}

fn sample() -> Manifest {
    Manifest {
        name: "firmware.bin".into(),
        product: "acme-r1".into(),
        hardware: vec!["rev-a".into(), "rev-b".into()],
        version: "2.4.1".into(),
        sequence: 17,
        image_sha256: [1; 32],
        partition: Partition::new(100, 8, 2).unwrap(),
        block_sha256: vec![[2; 32], [3; 32]],
        not_before_unix_s: None,
        expires_unix_s: Some(2_000_000_000),
    }
}

/// The sample's payload with one entry added, or replaced, or (`None`) removed.
fn payload_with(key: i64, value: Option<Value>) -> Vec<u8> {
    let Value::Map(mut entries) = crate::cbor::decode(&sample().to_cbor()).unwrap() else { panic!("no map") };
    entries.retain(|(k, _)| *k != Value::from(key));
    entries.extend(value.map(|value| (Value::from(key), value)));
    entries.sort_by_key(|(k, _)| crate::cbor::encode(k));
    crate::cbor::encode(&Value::Map(entries))
}

fn error_with(key: i64, value: impl Into<Value>) -> ManifestError {
    Manifest::from_cbor(&payload_with(key, Some(value.into()))).unwrap_err()
}

/// Signs any payload under any protected header, as only the holder of the key can.
fn signed_by_hand(protected: Header, payload: Vec<u8>) -> Vec<u8> {
    coset::CoseSign1Builder::new()
        .protected(protected)
        .payload(payload)
        .create_signature(&[], |tbs| key().sign(tbs).to_bytes().to_vec())
        .build()
        .to_tagged_vec()
        .unwrap()
}

fn our_header() -> HeaderBuilder {
    HeaderBuilder::new()
        .algorithm(iana::Algorithm::EdDSA)
        .content_type(CONTENT_TYPE.into())
        .key_id(KeyId::of(&key().verifying_key()).0.to_vec())
}

#[test]
fn payload_is_the_documented_encoding() {
    let hex: String = sample().to_cbor().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = [
        "ac0001016c6669726d776172652e62696e", // 12 entries, format 1, name
        "026761636d652d7231",                 // product
        "0382657265762d61657265762d62",       // hardware
        "0465322e342e31",                     // version
        "0511",                               // sequence
        "061864",                             // image_length
        &format!("075820{}", "01".repeat(32)),
        "0808", // symbol_size
        "0902", // blocks
        &format!("0a825820{}5820{}", "02".repeat(32), "03".repeat(32)),
        "0c1a77359400", // expires
    ];
    assert_eq!(hex, expected.concat());
}

#[test]
fn signed_and_verified() {
    let signed = SignedManifest::sign(&sample(), &key()).unwrap();
    assert!(signed.bytes().starts_with(b"\xd2\x84\x58\x37\xa3\x01\x27\x03\x78")); // tag 18, 55 bytes: {1: -8, 3: …
    let verified = SignedManifest::verify(signed.bytes(), &trust()).unwrap();
    assert_eq!(verified.manifest(), &sample());
    assert_eq!(verified.digest(), signed.digest());
    assert_eq!(verified.key_id(), KeyId::of(&key().verifying_key()));
    let unverified = SignedManifest::parse_unverified(signed.bytes()).unwrap();
    assert_eq!((unverified.manifest(), unverified.digest()), (&sample(), signed.digest()));
    assert_eq!(unverified.verify(&trust()).unwrap().bytes(), signed.bytes());
    // RFC 9052 §4.4: ["Signature1", protected, h'', payload].
    assert!(signed.tbs().starts_with(b"\x84\x6aSignature1\x58\x37\xa3"));
    assert!(signed.tbs().ends_with(&sample().to_cbor()));
    let signature = ed25519_dalek::Signature::from_slice(signed.signature()).unwrap();
    assert!(key().verifying_key().verify_strict(&signed.tbs(), &signature).is_ok());
}

#[test]
fn other_keys_are_refused() {
    let signed = SignedManifest::sign(&sample(), &key()).unwrap();
    let other = signing_key_from_random(&[8; 32]).verifying_key();
    let refused = |trust: &TrustStore| SignedManifest::verify(signed.bytes(), trust).unwrap_err();
    assert_eq!(refused(&TrustStore::default()), TrustError::NoKeys);
    let error = refused(&TrustStore::new([other]));
    assert!(matches!(&error, TrustError::UnknownKey { found, .. } if *found == signed.key_id()));
    assert!(error.to_string().contains(&KeyId::of(&other).to_string()), "{error}");
    assert!(SignedManifest::verify(signed.bytes(), &TrustStore::new([other, key().verifying_key()])).is_ok());
    // Signed by another key under our key's id.
    let mut forged = CoseSign1::from_tagged_slice(signed.bytes()).unwrap();
    forged.signature = signing_key_from_random(&[8; 32]).sign(&signed.tbs()).to_bytes().to_vec();
    let forged = forged.to_tagged_vec().unwrap();
    assert_eq!(SignedManifest::verify(&forged, &trust()).unwrap_err(), TrustError::BadSignature(signed.key_id()));
}

#[test]
fn every_byte_is_protected() {
    let signed = SignedManifest::sign(&sample(), &key()).unwrap();
    for at in 0..signed.bytes().len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut bytes = signed.bytes().to_vec();
            bytes[at] ^= flip;
            assert!(SignedManifest::verify(&bytes, &trust()).is_err(), "byte {at} ^ {flip:#x}");
        }
        assert!(SignedManifest::verify(&signed.bytes()[..at], &trust()).is_err(), "cut at {at}");
    }
    let longer = [signed.bytes(), b"\0"].concat();
    let trailing = TrustError::Manifest(CborError::Trailing(1).into());
    assert_eq!(SignedManifest::verify(&longer, &trust()).unwrap_err(), trailing);
}

#[test]
fn the_unprotected_header_changes_nothing() {
    let signed = SignedManifest::sign(&sample(), &key()).unwrap();
    let mut envelope = CoseSign1::from_tagged_slice(signed.bytes()).unwrap();
    envelope.unprotected = HeaderBuilder::new()
        .algorithm(iana::Algorithm::ES256)
        .key_id(b"somebody".to_vec())
        .text_value("note".into(), Value::from("hello"))
        .build();
    let noted = envelope.to_tagged_vec().unwrap();
    // A map that COSE does not allow: the key id twice, and none of them a byte string.
    let unprotected_at = 3 + 1 + 55;
    let mut odd = signed.bytes().to_vec();
    assert_eq!(odd[unprotected_at], 0xa0);
    odd.splice(unprotected_at..=unprotected_at, *b"\xa2\x04\x00\x04\x00");
    for bytes in [noted, odd] {
        let verified = SignedManifest::verify(&bytes, &trust()).unwrap();
        assert_eq!((verified.digest(), verified.key_id()), (signed.digest(), signed.key_id()));
        assert_eq!((verified.bytes(), verified.tbs()), (bytes.as_slice(), signed.tbs()));
    }
    // Something else in its place is no COSE_Sign1.
    let mut none = signed.bytes().to_vec();
    none[unprotected_at] = 0xf6;
    assert!(UnverifiedManifest::parse(&none).is_err());
}

#[test]
fn only_our_protected_header_counts() {
    let refused = |header: Header| {
        let bytes = signed_by_hand(header, sample().to_cbor());
        UnverifiedManifest::parse(&bytes).unwrap_err()
    };
    assert!(UnverifiedManifest::parse(&signed_by_hand(our_header().build(), sample().to_cbor())).is_ok());
    assert!(matches!(refused(our_header().algorithm(iana::Algorithm::ES256).build()), ManifestError::Algorithm(_)));
    let no_algorithm = Header { alg: None, ..our_header().build() };
    assert!(matches!(refused(no_algorithm), ManifestError::Algorithm(_)));
    let critical = our_header().add_critical(iana::HeaderParameter::Kid).build();
    assert_eq!(refused(critical), ManifestError::CriticalHeader);
    let other_type = our_header().content_type("text/plain".into()).build();
    assert!(matches!(refused(other_type), ManifestError::Envelope(_)));
    assert!(matches!(refused(our_header().key_id(b"short".to_vec()).build()), ManifestError::Envelope(_)));
    assert!(matches!(refused(Header::default()), ManifestError::Algorithm(_)));
    let long = our_header().text_value("pad".into(), Value::from("x".repeat(2000))).build();
    assert!(matches!(refused(long), ManifestError::Envelope(_)));
    // The algorithm outside the signature does not count.
    let envelope = CoseSign1 {
        unprotected: our_header().build(),
        payload: Some(sample().to_cbor()),
        signature: vec![0; 64],
        ..CoseSign1::default()
    };
    assert!(UnverifiedManifest::parse(&envelope.clone().to_tagged_vec().unwrap()).is_err());
    assert!(UnverifiedManifest::parse(&envelope.to_vec().unwrap()).is_err()); // no tag
    let detached = signed_by_hand(our_header().build(), Vec::new());
    let mut detached = CoseSign1::from_tagged_slice(&detached).unwrap();
    detached.payload = None;
    let detached = detached.to_tagged_vec().unwrap();
    assert_eq!(
        UnverifiedManifest::parse(&detached).unwrap_err(),
        ManifestError::Envelope("its COSE_Sign1 has a detached payload")
    );
}

#[test]
fn newer_manifests_say_so() {
    let newer = error_with(0, 2);
    assert_eq!(newer, ManifestError::FormatVersion { found: 2 });
    assert!(newer.to_string().contains("made by a newer fleetcast"), "{newer}");
    let critical = error_with(13, Value::Null);
    assert_eq!(critical, ManifestError::UnknownField(13));
    assert!(critical.to_string().contains("made by a newer fleetcast"), "{critical}");
    // A hint of a newer one is skipped, and it is part of what is signed.
    let hinted = payload_with(-1, Some(Value::from("hint")));
    assert_eq!(Manifest::from_cbor(&hinted).unwrap(), sample());
    let plain = SignedManifest::sign(&sample(), &key()).unwrap();
    let hinted = SignedManifest::verify(&signed_by_hand(our_header().build(), hinted), &trust()).unwrap();
    assert_ne!(hinted.digest(), plain.digest());
}

#[test]
fn wrong_fields_are_named() {
    let field = |key, value: Value| match error_with(key, value) {
        ManifestError::Field(error) => error.field,
        other => panic!("key {key}: {other}"),
    };
    let names = [(1, "name"), (2, "product"), (4, "version")];
    for (key, name) in names {
        assert_eq!(field(key, Value::from(5)), name);
        assert_eq!(field(key, Value::from("")), name);
        assert_eq!(field(key, Value::from("x".repeat(256))), name);
        assert_eq!(field(key, Value::from("a\nb")), name);
        assert_eq!(field(key, Value::from("a\0b")), name);
        assert_eq!(field(key, Value::from("a\u{9b}b")), name);
    }
    for path in [".", "..", "a/b", "/"] {
        assert_eq!(field(1, Value::from(path)), "name");
    }
    assert_eq!(field(0, Value::from(0)), "format");
    assert_eq!(field(3, Value::from("rev-a")), "hardware");
    assert_eq!(field(3, Value::Array(vec![])), "hardware");
    assert_eq!(field(3, Value::Array(vec![Value::from(1)])), "hardware");
    assert_eq!(field(3, Value::Array(vec![Value::from("x".repeat(129))])), "hardware");
    assert_eq!(field(3, Value::Array(vec![Value::from("x"); 65])), "hardware");
    assert_eq!(field(5, Value::from(-1)), "sequence");
    assert_eq!(field(6, Value::from("1")), "image_length");
    assert_eq!(field(7, Value::Bytes(vec![0; 31])), "image_sha256");
    assert_eq!(field(8, Value::from(65_536)), "symbol_size");
    assert_eq!(field(9, Value::from(65_536)), "blocks");
    assert_eq!(field(10, Value::Array(vec![Value::Bytes(vec![0; 33]); 2])), "block_sha256");
    assert_eq!(field(10, Value::Array(vec![Value::Bytes(vec![0; 32]); 256])), "block_sha256");
    assert_eq!(field(11, Value::Float(1.0)), "not_before");
    assert_eq!(field(12, Value::Null), "expires");
    let one_hash = Value::Array(vec![Value::Bytes(vec![0; 32])]);
    assert_eq!(error_with(10, one_hash), ManifestError::BlockHashes { hashes: 1, blocks: 2 });
    assert!(matches!(error_with(6, 0), ManifestError::Partition(PartitionError::Empty)));
    assert!(matches!(error_with(8, 9), ManifestError::Partition(PartitionError::SymbolSize(9))));
    assert!(matches!(error_with(9, 14), ManifestError::Partition(PartitionError::Blocks { .. })));
    assert!(matches!(error_with(6, u64::MAX), ManifestError::Partition(PartitionError::TooLarge { .. })));
    assert!(matches!(error_with(11, 2_000_000_000), ManifestError::Validity { .. }));
    for key in 0..=10 {
        let error = Manifest::from_cbor(&payload_with(key, None)).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{key}: {error}");
    }
}

#[test]
fn nothing_is_signed_that_receivers_refuse() {
    let refused = |change: fn(&mut Manifest)| {
        let mut manifest = sample();
        change(&mut manifest);
        SignedManifest::sign(&manifest, &key()).unwrap_err()
    };
    assert!(matches!(refused(|m| m.name = "../etc/passwd".into()), ManifestError::Field(_)));
    assert!(matches!(refused(|m| m.hardware.clear()), ManifestError::Field(_)));
    assert!(matches!(refused(|m| m.block_sha256.clear()), ManifestError::BlockHashes { .. }));
    assert!(matches!(refused(|m| m.not_before_unix_s = m.expires_unix_s), ManifestError::Validity { .. }));
}

#[test]
fn the_largest_manifest_fits_with_room() {
    let manifest = Manifest {
        name: "x".repeat(MAX_NAME_LEN),
        product: "x".repeat(MAX_TEXT_LEN),
        hardware: vec!["x".repeat(MAX_TEXT_LEN); MAX_HARDWARE_IDS],
        version: "x".repeat(MAX_TEXT_LEN),
        sequence: u64::MAX,
        partition: Partition::new(900_000_000_000, 65_528, 255).unwrap(),
        block_sha256: vec![[0; 32]; 255],
        not_before_unix_s: Some(u64::MAX - 1),
        expires_unix_s: Some(u64::MAX),
        ..sample()
    };
    let signed = SignedManifest::sign(&manifest, &key()).unwrap();
    assert_eq!(signed.bytes().len(), 17_730);
    assert_eq!(SignedManifest::verify(signed.bytes(), &trust()).unwrap().manifest(), &manifest);
    let huge = vec![0; MAX_MANIFEST_LEN + 1];
    assert!(matches!(UnverifiedManifest::parse(&huge), Err(ManifestError::Cbor(CborError::TooLong { .. }))));
}

#[test]
fn images_are_checked_block_by_block() {
    let image: Vec<u8> = (0..100).collect();
    let mut manifest = sample();
    let hashes = ImageHashes::compute(&manifest.partition, &image).unwrap();
    (manifest.image_sha256, manifest.block_sha256) = (hashes.image_sha256, hashes.block_sha256);
    assert_eq!(manifest.check_image(&image), Ok(()));
    // 13 symbols of 8 bytes in 2 blocks: 7 and 6 symbols, the last one of 4 bytes.
    assert!(manifest.block_matches(0, &image[..56]));
    assert!(manifest.block_matches(1, &image[56..]));
    assert!(!manifest.block_matches(1, &image[..56]));
    assert!(!manifest.block_matches(2, &image[56..]));
    let mut changed = image.clone();
    changed[56] ^= 1;
    assert_eq!(manifest.check_image(&changed), Err(ImageMismatch::Block { sbn: 1 }));
    assert_eq!(manifest.check_image(&image[1..]), Err(ImageMismatch::Length { found: 99, expected: 100 }));
    manifest.image_sha256 = [0; 32];
    assert_eq!(manifest.check_image(&image), Err(ImageMismatch::Image));
}

prop_compose! {
    fn any_manifest()(
        name in "[^/\\pC]{1,60}".prop_filter("a path", |name| name != "." && name != ".."),
        product in "[^\\pC]{1,32}",
        hardware in vec("[^\\pC]{1,32}", 1..=MAX_HARDWARE_IDS),
        version in "[^\\pC]{1,32}",
        sequence: u64,
        image_sha256: [u8; 32],
        len in 1u64..1_000_000_000,
        symbol_size in 1u16..=8191,
        block_symbols in 1u32..4000,
        hash: [u8; 32],
        not_before_unix_s in proptest::option::of(0..u64::MAX / 2),
        expires_unix_s in proptest::option::of(u64::MAX / 2..),
    ) -> Option<Manifest> {
        let partition = Partition::plan(len, symbol_size * 8, block_symbols).ok()?;
        let block_hash = |sbn: u16| hash.map(|byte| byte.wrapping_add(sbn.to_le_bytes()[0]));
        let block_sha256 = (0..partition.blocks()).map(block_hash).collect();
        Some(Manifest {
            name, product, hardware, version, sequence, image_sha256, partition, block_sha256,
            not_before_unix_s, expires_unix_s,
        })
    }
}

proptest! {
    #[test]
    fn roundtrip(manifest in any_manifest()) {
        let Some(manifest) = manifest else { return Ok(()) };
        let payload = manifest.to_cbor();
        prop_assert_eq!(&Manifest::from_cbor(&payload).unwrap(), &manifest);
        let signed = SignedManifest::sign(&manifest, &key()).unwrap();
        let verified = SignedManifest::verify(signed.bytes(), &trust()).unwrap();
        prop_assert_eq!(verified.manifest(), &manifest);
        prop_assert_eq!(verified.digest(), signed.digest());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Manifest::from_cbor(&bytes);
        let _ = UnverifiedManifest::parse(&bytes);
    }

    /// Mutations of a payload: whatever is still read is written back as the same bytes, or holds an ignored hint.
    #[test]
    fn mutated_payloads_are_read_right_or_refused(
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sample().to_cbor();
        for (at, byte) in edits {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(manifest) = Manifest::from_cbor(&bytes) {
            prop_assert_eq!(manifest.check(), Ok(()));
            prop_assert!(manifest.to_cbor() == bytes || manifest.to_cbor().len() < bytes.len());
        }
    }

    #[test]
    fn mutated_envelopes_are_refused(
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let signed = SignedManifest::sign(&sample(), &key()).unwrap();
        let mut bytes = signed.bytes().to_vec();
        for (at, byte) in edits {
            *at.get_mut(&mut bytes) = byte;
        }
        let unsigned_as_is = UnverifiedManifest::parse(&bytes).map(|manifest| manifest.digest());
        match SignedManifest::verify(&bytes, &trust()) {
            Ok(verified) => {
                prop_assert_eq!(verified.digest(), signed.digest());
                prop_assert_eq!(unsigned_as_is, Ok(signed.digest()));
            }
            Err(_) => prop_assert_ne!(bytes.as_slice(), signed.bytes()),
        }
    }
}
