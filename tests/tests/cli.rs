//! The commands that need no network, against OpenSSL, and the exit codes of wrong command lines. No root needed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::command::run;
use fleetcast_tests::image;
use fleetcast_tests::release::{KeyPair, Release};
use fleetcast_tests::scratch::Scratch;

const USAGE: Option<i32> = Some(2);
const ENVIRONMENT: Option<i32> = Some(3);
const REFUSED: Option<i32> = Some(4);
const VERIFICATION: Option<i32> = Some(6);

struct Bench {
    binaries: Binaries,
    scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        Self { binaries: Binaries::beside_this_program().unwrap(), scratch: Scratch::new().unwrap() }
    }

    fn key(&self, name: &str) -> KeyPair {
        KeyPair::generate(&self.binaries, self.scratch.path(), name).unwrap()
    }

    fn image(&self) -> std::path::PathBuf {
        let image = self.scratch.join("firmware.bin");
        image::write_pseudo_random(&image, 100_000, 1).unwrap();
        image
    }

    fn inspect(&self, manifest: &Path, trust: &Path) -> Output {
        let mut command = Command::new(&self.binaries.send);
        command.arg("inspect").arg(manifest).arg("--trust").arg(trust).arg("--json").output().unwrap()
    }
}

fn openssl<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> String {
    run(Command::new("openssl").args(args)).unwrap()
}

#[test]
fn openssl_reads_our_keys() {
    let bench = Bench::new();
    let key = bench.key("release");
    let secret = key.secret.to_str().unwrap();
    assert!(openssl(["pkey", "-in", secret, "-noout", "-text"]).contains("ED25519 Private-Key"));
    let public = fs::read_to_string(&key.public).unwrap();
    assert_eq!(openssl(["pkey", "-in", secret, "-pubout"]).trim(), public.trim());
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&key.secret).unwrap());
    assert_eq!(mode & 0o077, 0, "others may read the secret key: {mode:o}");
}

#[test]
fn keygen_never_overwrites_a_key() {
    let bench = Bench::new();
    let key = bench.key("release");
    let before = fs::read(&key.secret).unwrap();
    KeyPair::generate(&bench.binaries, bench.scratch.path(), "release").unwrap_err();
    assert_eq!(fs::read(&key.secret).unwrap(), before);
}

#[test]
fn we_read_the_keys_of_openssl() {
    let bench = Bench::new();
    let key = KeyPair { secret: bench.scratch.join("o.key"), public: bench.scratch.join("o.pub") };
    let [secret, public] = [&key.secret, &key.public].map(|path| path.to_str().unwrap());
    openssl(["genpkey", "-algorithm", "ed25519", "-out", secret]);
    openssl(["pkey", "-in", secret, "-pubout", "-out", public]);
    let release = Release::seal(&bench.binaries, bench.image(), &key, 3).unwrap();
    let inspected = bench.inspect(&release.manifest, &key.public);
    assert!(inspected.status.success(), "{inspected:?}");
    assert!(String::from_utf8_lossy(&inspected.stdout).contains(&release.sha256));
}

#[test]
fn an_untrusted_or_changed_manifest_is_told() {
    let bench = Bench::new();
    let (key, stranger) = (bench.key("release"), bench.key("stranger"));
    let release = Release::seal(&bench.binaries, bench.image(), &key, 1).unwrap();
    assert_eq!(bench.inspect(&release.manifest, &stranger.public).status.code(), REFUSED);
    let mut bytes = fs::read(&release.manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&release.manifest, bytes).unwrap();
    assert_eq!(bench.inspect(&release.manifest, &key.public).status.code(), REFUSED);
}

#[test]
fn exit_codes_tell_a_wrong_command_from_a_wrong_environment() {
    let bench = Bench::new();
    let key = bench.key("release");
    let release = Release::seal(&bench.binaries, bench.image(), &key, 1).unwrap();
    let send = |group: &str, interface: &str| {
        let mut command = Command::new(&bench.binaries.send);
        command.arg("send").arg(&release.image).arg("--manifest").arg(&release.manifest);
        command.args(["--group", group, "--port", "5000", "--interface", interface, "--rate", "1M"]);
        command.output().unwrap()
    };
    let receive = |group: &str, interface: &str| {
        let mut command = Command::new(&bench.binaries.recv);
        command.args(["receive", "--source", "10.77.0.1", "--group", group, "--port", "5000"]);
        command.args(["--interface", interface, "--product", "p", "--hardware", "h", "--once", "--timeout", "1s"]);
        command.arg("--trust").arg(&key.public).arg("--state").arg(bench.scratch.join("state"));
        command.arg("--out").arg(bench.scratch.join("out")).output().unwrap()
    };
    for (output, expected, what) in [
        (send("10.1.1.1", "lo"), USAGE, "sending to a unicast address"),
        (receive("10.1.1.1", "lo"), USAGE, "receiving from a unicast address"),
        (send("232.1.1.1", "no-such-nic"), ENVIRONMENT, "sending on no interface"),
        (receive("232.1.1.1", "no-such-nic"), ENVIRONMENT, "receiving on no interface"),
    ] {
        assert_eq!(output.status.code(), expected, "{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stderr.is_empty(), "{what}");
    }
}

#[test]
fn an_image_that_changed_after_sealing_is_not_sent() {
    let bench = Bench::new();
    let key = bench.key("release");
    let release = Release::seal(&bench.binaries, bench.image(), &key, 1).unwrap();
    let sealed = fs::read(&release.image).unwrap();
    let mut flipped = sealed.clone();
    flipped[50_000] ^= 1;
    for (changed, what) in [(&sealed[1..], "shorter"), (&flipped, "another byte")] {
        fs::write(&release.image, changed).unwrap();
        let mut command = Command::new(&bench.binaries.send);
        command.arg("send").arg(&release.image).arg("--manifest").arg(&release.manifest);
        command.args(["--group", "232.1.1.1", "--port", "5000", "--interface", "lo", "--rate", "1M"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), VERIFICATION, "{what}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
