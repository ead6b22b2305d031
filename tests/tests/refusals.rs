//! What a receiver must not take: for each reason one receiver on one stream. Each says why, ends with exit code 4, and has
//! written nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::command::run;
use fleetcast_tests::fleet::{Channel, Device, Fleet, Invocation};
use fleetcast_tests::image;
use fleetcast_tests::process::Process;
use fleetcast_tests::release::{HARDWARE, KeyPair, PRODUCT, Release};
use fleetcast_tests::skip_without_lab;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const REFUSED: Option<i32> = Some(4);
const SEQUENCE: u64 = 5;
const DAY_S: u64 = 86_400;
const IMAGE_BYTES: u64 = 200_000;

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A release that is valid from tomorrow to the day after.
fn release_of_tomorrow(fleet: &Fleet) -> Release {
    let image = fleet.scratch.join("firmware.bin");
    image::write_pseudo_random(&image, IMAGE_BYTES, 1).unwrap();
    let mut seal = Command::new(&fleet.binaries.send);
    seal.arg("seal").arg(&image).arg("--key").arg(&fleet.key.secret);
    seal.args(["--product", PRODUCT, "--hardware", HARDWARE, "--version", "5", "--sequence", &SEQUENCE.to_string()]);
    seal.args(["--not-before", &(unix_s() + DAY_S).to_string(), "--expires", &(unix_s() + 2 * DAY_S).to_string()]);
    run(&mut seal).unwrap();
    let manifest = fleet.scratch.join("firmware.bin.fcm");
    Release {
        sha256: image::sha256(&image).unwrap(),
        public_key: fleet.key.public.clone(),
        file_bytes: IMAGE_BYTES,
        version: "5".into(),
        sequence: SEQUENCE,
        image,
        manifest,
    }
}

/// Copies of the manifest, each with one byte changed in another region; all of them can be read, so the sender sends them.
fn tampered(fleet: &Fleet, release: &Release) -> Vec<(&'static str, Release)> {
    let bytes = fs::read(&release.manifest).unwrap();
    let mut inspect = Command::new(&fleet.binaries.send);
    let inspected = run(inspect.arg("inspect").arg(&release.manifest).arg("--json")).unwrap();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let from_hex = |name: &str| -> Vec<u8> {
        let hex = inspected[name].as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what).unwrap();
    let regions = [
        ("key id", find(&from_hex("key_id"))),
        ("product", find(PRODUCT.as_bytes())),
        ("image hash", find(&from_hex("sha256"))),
        ("signature", bytes.len() - 64),
        ("end of the signature", bytes.len() - 1),
    ];
    let write = |(region, at): (&'static str, usize)| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let manifest = fleet.scratch.join(format!("tampered-{at}.fcm"));
        fs::write(&manifest, changed).unwrap();
        (region, Release { manifest, ..release.clone() })
    };
    regions.map(write).into()
}

/// The device as an earlier upgrade left it.
fn install(device: &Device, sequence: u64, applied_unix_s: u64) {
    fs::create_dir_all(&device.state).unwrap();
    let installed = json!({
        "name": "firmware.bin", "version": "old", "sequence": sequence, "manifest": "ab".repeat(32),
        "applied_unix_s": applied_unix_s,
    });
    fs::write(device.state.join("installed.json"), installed.to_string()).unwrap();
    fs::write(&device.out, "the image that runs").unwrap();
}

/// Every file of a device with its content, but for the lock, which is empty and stays.
fn files(device: &Device) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(&device.state).into_iter().flatten().map(|entry| entry.unwrap().path());
    let files = entries.chain([device.out.clone()]).filter(|path| path.exists() && !path.ends_with("lock"));
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn trusting(receiver: Invocation, fleet: &Fleet, key: &Path, device: &Device) -> Invocation {
    let paths: [OsString; 4] = ["--trust".into(), key.into(), "--out".into(), device.out.clone().into()];
    receiver.args(fleet.channel.options()).args(paths).args(["--once", "--timeout", "2500ms"])
}

/// A receiver that must refuse, and what it must say.
struct Case {
    device: Device,
    before: BTreeMap<PathBuf, Vec<u8>>,
    message: &'static str,
    what: String,
}

#[test]
fn each_reason_refuses_the_stream_and_nothing_is_written() {
    skip_without_lab!();
    const PLAIN: usize = 7;
    let mut fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, PLAIN + 5).unwrap();
    let release = release_of_tomorrow(&fleet);
    let tampered = tampered(&fleet, &release);
    let stranger = KeyPair::generate(&fleet.binaries, fleet.scratch.path(), "stranger").unwrap();
    let mut cases = Vec::new();
    let mut receivers: Vec<Process> = Vec::new();
    let mut add = |fleet: &Fleet, key: &Path, tsi: u32, message: &'static str, what: String| {
        let index = cases.len();
        let device = fleet.device(index);
        let invocation = trusting(fleet.bare_receiver(index), fleet, key, &device);
        receivers.push(invocation.args(["--tsi", &tsi.to_string()]).spawn().unwrap());
        let before = files(&device);
        cases.push(Case { device, before, message, what });
    };
    let plain = |index: usize, floor: u64, applied_unix_s: u64, fleet: &Fleet| {
        install(&fleet.device(index), floor, applied_unix_s);
    };
    // The genuine stream, TSI 1.
    let trusted = fleet.key.public.clone();
    plain(0, 1, 0, &fleet);
    add(&fleet, &stranger.public, 1, "which is not trusted", "wrong key".into());
    fleet.product = "toaster".into();
    plain(1, 1, 0, &fleet);
    add(&fleet, &trusted, 1, "this device is \"toaster\"", "other product".into());
    fleet.product = PRODUCT.into();
    fleet.hardware = "rev-z".into();
    plain(2, 1, 0, &fleet);
    add(&fleet, &trusted, 1, "this device is \"rev-z\"", "other hardware".into());
    fleet.hardware = HARDWARE.into();
    plain(3, SEQUENCE + 1, 0, &fleet);
    add(&fleet, &trusted, 1, "rollback refused", "lower sequence".into());
    plain(4, SEQUENCE, 0, &fleet);
    add(&fleet, &trusted, 1, "give every release its own sequence", "equal sequence".into());
    plain(5, 1, 0, &fleet);
    add(&fleet, &trusted, 1, "the manifest is valid from", "not yet valid".into());
    // Its last upgrade was later than the release's last day, whatever its clock says.
    plain(6, 1, unix_s() + 3 * DAY_S, &fleet);
    add(&fleet, &trusted, 1, "the manifest expired at", "expired".into());
    // Streams with a tampered manifest, TSI 2 and up. One of these devices never had an image.
    for (index, (region, _)) in tampered.iter().enumerate() {
        if index > 0 {
            plain(PLAIN + index, 1, 0, &fleet);
        }
        let message = if *region == "key id" {
            "which is not trusted"
        } else {
            "it was changed after signing, or it is a forgery"
        };
        add(&fleet, &trusted, 2 + u32::try_from(index).unwrap(), message, format!("tampered {region}"));
    }
    fleet.await_joined(&mut receivers).unwrap();
    let streams = std::iter::once(&release).chain(tampered.iter().map(|(_, release)| release));
    for (tsi, stream) in (1..).zip(streams) {
        let args = ["--rate", "50M", "--tsi", &tsi.to_string()].map(String::from);
        let sent = fleet.sender(stream).args(args).spawn().unwrap().finish(SOON).unwrap();
        assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    }
    for (receiver, case) in receivers.into_iter().zip(cases) {
        let what = &case.what;
        let finished = receiver.finish(SOON).unwrap();
        assert_eq!(finished.code(), REFUSED, "{what}: {}", finished.stderr);
        assert!(finished.stderr.contains(case.message), "{what}: {}", finished.stderr);
        let refusal = finished.event("manifest").unwrap();
        assert_eq!(refusal["accepted"], false, "{what}: {refusal}");
        let summary = finished.event("summary").unwrap();
        assert_eq!((&summary["result"], &summary["symbols"]), (&json!("refused"), &json!(0)), "{what}");
        assert!(summary["early"].as_u64() > Some(0) && summary["refused"].as_u64() > Some(0), "{what}: {summary}");
        assert_eq!(files(&case.device), case.before, "{what}");
    }
}

#[test]
fn without_a_key_nothing_starts() {
    let binaries = Binaries::beside_this_program().unwrap();
    let scratch = fleetcast_tests::scratch::Scratch::new().unwrap();
    let key = KeyPair::generate(&binaries, scratch.path(), "release").unwrap();
    let garbage = scratch.join("garbage");
    fs::write(&garbage, [0xFF; 100]).unwrap();
    let text = scratch.join("text");
    fs::write(&text, "no key").unwrap();
    let empty = scratch.join("empty");
    fs::write(&empty, "").unwrap();
    for (trust, message) in [
        (scratch.join("absent"), "name the .pub file that `fleetcast-send keygen` made"),
        (key.secret, "name the public key file"),
        (garbage, "cannot read the public key"),
        (text, "expected one that starts with \"-----BEGIN PUBLIC KEY-----\""),
        (empty, "expected one that starts with \"-----BEGIN PUBLIC KEY-----\""),
        (scratch.path().to_owned(), "cannot read the public key"),
    ] {
        let state = scratch.join("state");
        let mut receive = Command::new(&binaries.recv);
        receive.args([
            "receive",
            "--source",
            "127.0.0.1",
            "--group",
            "232.1.1.1",
            "--port",
            "5000",
            "--interface",
            "lo",
        ]);
        receive.args(["--product", "p", "--hardware", "h", "--once", "--timeout", "1s"]);
        let output = receive.arg("--trust").arg(&trust).arg("--state").arg(&state).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}: {stderr}", trust.display());
        assert!(stderr.contains(message), "{}: {stderr}", trust.display());
        assert!(!state.exists(), "{}", trust.display());
    }
}
