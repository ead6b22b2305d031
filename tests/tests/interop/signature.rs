//! openssl verifies the signature that `seal` made, over the bytes that `inspect --tbs` writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::command::run;
use fleetcast_tests::image;
use fleetcast_tests::release::{KeyPair, Release};
use fleetcast_tests::scratch::Scratch;

/// `openssl pkeyutl -verify`, as the README has it: whether openssl finds the signature good.
fn openssl_verifies(public_key: &Path, tbs: &Path, signature: &Path) -> bool {
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"]).arg(public_key);
    let output = command.arg("-in").arg(tbs).arg("-sigfile").arg(signature).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.success(), said.contains("Signature Verified Successfully"), "{output:?}");
    output.status.success()
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

#[test]
fn openssl_verifies_what_seal_signed() {
    let binaries = Binaries::beside_this_program().unwrap();
    let scratch = Scratch::new().unwrap();
    let [key, other] = ["release", "other"].map(|name| KeyPair::generate(&binaries, scratch.path(), name).unwrap());
    let image = scratch.join("firmware.bin");
    image::write_pseudo_random(&image, 100_000, 1).unwrap();
    let release = Release::seal(&binaries, image, &key, 3).unwrap();
    let (tbs, signature) = (scratch.join("firmware.tbs"), scratch.join("firmware.sig"));
    let mut inspect = Command::new(&binaries.send);
    inspect.arg("inspect").arg(&release.manifest).arg("--tbs").arg(&tbs).arg("--signature").arg(&signature);
    run(&mut inspect).unwrap();

    // The Sig_structure begins with an array of 4 and its context (RFC 9052 §4.4), and holds the signed payload.
    let signed = fs::read(&tbs).unwrap();
    assert_eq!(signed[..12], *b"\x84\x6aSignature1");
    let hash: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&release.sha256[at..at + 2], 16).unwrap()).collect();
    assert!(signed.windows(32).any(|window| window == hash), "the image's SHA-256 is under the signature");
    assert_eq!(fs::read(&signature).unwrap().len(), 64);

    assert!(openssl_verifies(&key.public, &tbs, &signature));
    assert!(!openssl_verifies(&other.public, &tbs, &signature));
    for bit in [0, 100, 8 * signed.len() - 1] {
        flip(&tbs, bit);
        assert!(!openssl_verifies(&key.public, &tbs, &signature), "bit {bit} is not under the signature");
        flip(&tbs, bit);
    }
    flip(&signature, 77);
    assert!(!openssl_verifies(&key.public, &tbs, &signature));
    flip(&signature, 77);
    assert!(openssl_verifies(&key.public, &tbs, &signature));
}

#[test]
fn the_extracts_are_written_even_when_the_signature_is_bad() {
    let binaries = Binaries::beside_this_program().unwrap();
    let scratch = Scratch::new().unwrap();
    let key = KeyPair::generate(&binaries, scratch.path(), "release").unwrap();
    let image = scratch.join("firmware.bin");
    image::write_pseudo_random(&image, 10_000, 1).unwrap();
    let release = Release::seal(&binaries, image, &key, 3).unwrap();
    // The last byte of the envelope is the signature's.
    let len = fs::read(&release.manifest).unwrap().len();
    flip(&release.manifest, 8 * len - 1);
    let (tbs, signature) = (scratch.join("tbs"), scratch.join("sig"));
    let mut inspect = Command::new(&binaries.send);
    inspect.arg("inspect").arg(&release.manifest).arg("--trust").arg(&key.public);
    let output = inspect.arg("--tbs").arg(&tbs).arg("--signature").arg(&signature).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(!openssl_verifies(&key.public, &tbs, &signature));
    flip(&signature, 8 * 64 - 1);
    assert!(openssl_verifies(&key.public, &tbs, &signature), "only the bit that was flipped was wrong");
}
