//! An image that changes while it is sent or sealed: the program stops with an error and an exit code, never by a signal.
//! On the loopback; that no wrong packet leaves is tested where the packets are made, in `sender/src/precompute/tests.rs`.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::image;
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::{KeyPair, Release};
use fleetcast_tests::scratch::Scratch;

const SOON: Duration = Duration::from_secs(30);
const VERIFICATION: Option<i32> = Some(6);
const IMAGE_BYTES: u64 = 4_000_000;

struct Desk {
    binaries: Binaries,
    scratch: Scratch,
    key: KeyPair,
    release: Release,
}

impl Desk {
    fn new() -> Self {
        let (binaries, scratch) = (Binaries::beside_this_program().unwrap(), Scratch::new().unwrap());
        let key = KeyPair::generate(&binaries, scratch.path(), "release").unwrap();
        let image = scratch.join("firmware.bin");
        image::write_pseudo_random(&image, IMAGE_BYTES, 1).unwrap();
        let release = Release::seal(&binaries, image, &key, 1).unwrap();
        Self { binaries, scratch, key, release }
    }

    /// Sends, does something to the image once the session has begun, and waits for the end.
    fn send(&self, passes: &str, meanwhile: impl FnOnce(&Path)) -> Finished {
        let mut command = Command::new(&self.binaries.send);
        command.arg("send").arg(&self.release.image).args(["--group", "232.1.1.1", "--port", "5000", "--ttl", "1"]);
        command.args(["--interface", "lo", "--rate", "50M", "--passes", passes, "--json"]);
        let mut sender = Process::spawn("the sender", command).unwrap();
        sender.wait_event("started", SOON).unwrap();
        meanwhile(&self.release.image);
        sender.finish(SOON).unwrap()
    }
}

fn open(image: &Path) -> fs::File {
    fs::OpenOptions::new().write(true).open(image).unwrap()
}

#[track_caller]
fn assert_stopped(finished: &Finished, messages: &[&str]) {
    assert_eq!(finished.code(), VERIFICATION, "{:?}: {}", finished.status, finished.stderr);
    for message in messages {
        assert!(finished.stderr.contains(message), "{}\nlacks {message:?}", finished.stderr);
    }
    assert_eq!(finished.event("summary").unwrap()["result"], "failed");
}

#[test]
fn a_truncated_image_stops_the_send() {
    for (after_ms, left) in [(0, 0), (3, 1), (40, 4096), (200, IMAGE_BYTES / 2), (430, IMAGE_BYTES - 1)] {
        let desk = Desk::new();
        let finished = desk.send("forever", |image| {
            thread::sleep(Duration::from_millis(after_ms));
            open(image).set_len(left).unwrap();
        });
        let messages =
            ["firmware.bin was changed while it was being read", "put the sealed one back and go on with it"];
        assert_stopped(&finished, &messages);
    }
}

#[test]
fn a_changed_image_stops_the_send_even_with_its_time_set_back() {
    let desk = Desk::new();
    let finished = desk.send("forever", |image| open(image).write_all_at(b"changed", 1_000_000).unwrap());
    assert_stopped(&finished, &["was changed while it was being read", "or seal the new one as a new release"]);

    let desk = Desk::new();
    let modified = fs::metadata(&desk.release.image).unwrap().modified().unwrap();
    let finished = desk.send("forever", |image| {
        // All blocks were sent and compared once.
        thread::sleep(Duration::from_millis(1500));
        let file = open(image);
        file.write_all_at(b"changed", 1_000_000).unwrap();
        file.set_modified(modified).unwrap();
    });
    assert!(
        ["source block 0 of the image is not the one in the manifest", "was changed while it was being read"]
            .iter()
            .any(|message| finished.stderr.contains(message))
    );
    assert_stopped(&finished, &[]);
}

/// The map is of the old file, which is intact: what was sealed is what is sent.
#[test]
fn a_file_renamed_over_the_image_does_not_disturb_the_send() {
    let desk = Desk::new();
    let other = desk.scratch.join("other.bin");
    fs::write(&other, "another firmware").unwrap();
    let finished = desk.send("2", |image| fs::rename(&other, image).unwrap());
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
}

#[test]
fn an_image_that_is_truncated_while_it_is_sealed_gets_no_manifest() {
    let desk = Desk::new();
    let huge = desk.scratch.join("huge.bin");
    fs::File::create(&huge).unwrap().set_len(3 << 30).unwrap();
    let mut seal = Command::new(&desk.binaries.send);
    seal.arg("seal").arg(&huge).arg("--key").arg(&desk.key.secret).args(["--product", "p", "--hardware", "h"]);
    let sealing = seal.args(["--version", "1", "--sequence", "1"]).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(150));
    open(&huge).set_len(1 << 20).unwrap();
    let output = sealing.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), VERIFICATION, "{:?}: {stderr}", output.status);
    assert!(stderr.contains("huge.bin was changed while it was being read"), "{stderr}");
    assert!(!desk.scratch.join("huge.bin.fcm").exists());
}
