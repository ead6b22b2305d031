//! A device's disk: full, read-only, damaged, taken. Whatever it is, a receiver says so, ends with exit code 3, and loses
//! nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::mount::{FileSystem, Mount};
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::KeyPair;
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::skip_without_lab;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(30);
const ENVIRONMENT: Option<i32> = Some(3);
const INTERRUPTED: Option<i32> = Some(130);
const IMAGE_BYTES: u64 = 12_000_000;
const DISK_BYTES: u64 = 24_000_000;
const OLD_IMAGE: &str = "the image that runs";
const INSTALLED: &str = r#"{"name":"fw","version":"1","sequence":1,"manifest":"abababababababababababababababababababababababababababababababab","applied_unix_s":7}"#;

/// Fills a file system but for `left` bytes.
fn fill(folder: &Path, left: u64) {
    let free = || {
        let space = rustix::fs::statvfs(folder).unwrap();
        space.f_bavail * space.f_frsize
    };
    let mut filler = File::options().create(true).append(true).open(folder.join("filler")).unwrap();
    for step in [65_536, 1024] {
        // What others write at the same time counts as well, so an error is the other way to be done.
        while free() > left && filler.write_all(&vec![0xFF; step]).is_ok() {}
    }
}

/// What a device was before the upgrade, and must still be after it failed.
fn install(disk: &Path, out: &Path) {
    fs::write(disk.join("installed.json"), INSTALLED).unwrap();
    fs::write(out, OLD_IMAGE).unwrap();
}

#[track_caller]
fn assert_as_before(finished: &Finished, disk: &Path, out: &Path, messages: &[&str]) {
    assert_eq!(finished.code(), ENVIRONMENT, "{}", finished.stderr);
    for message in messages {
        assert!(finished.stderr.contains(message), "{}\nlacks {message:?}", finished.stderr);
    }
    assert_eq!(finished.event("summary").unwrap()["result"], "failed");
    assert_eq!(fs::read_to_string(disk.join("installed.json")).unwrap(), INSTALLED);
    assert_eq!(fs::read_to_string(out).unwrap(), OLD_IMAGE);
}

/// Four devices on one carousel. The disks of the first two are full at the start; those of the others run full in the
/// middle, where a RAM disk has no room for symbols and an ext4, where staging is reserved, none for the journal.
#[test]
fn a_full_disk_ends_a_receiver_and_with_room_it_goes_on() {
    skip_without_lab!();
    let fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 4).unwrap();
    let release = fleet.release(IMAGE_BYTES, 2).unwrap();
    let kinds = [FileSystem::Ext4, FileSystem::Tmpfs, FileSystem::Tmpfs, FileSystem::Ext4];
    let mounts: Vec<Mount> =
        (0..).zip(kinds).map(|(n, kind)| Mount::new(kind, fleet.device(n).state, DISK_BYTES).unwrap()).collect();
    let disks: Vec<_> = mounts.iter().map(Mount::seen_from_outside).collect();
    let outs: Vec<_> = (0..4).map(|n| fleet.device(n).out).collect();
    for (disk, out) in disks.iter().zip(&outs) {
        install(disk, out);
    }
    disks[..2].iter().for_each(|disk| fill(disk, 4_000_000));
    let start = |n: usize| fleet.receiver(n).args(["--once", "--timeout", "15s"]).inside(&mounts[n]).spawn().unwrap();
    let mut receivers: Vec<Process> = (0..4).map(start).collect();
    fleet.await_joined(&mut receivers).unwrap();
    let sender = fleet.sender(&release).args(["--rate", "20M", "--passes", "forever"]).spawn().unwrap();

    thread::scope(|scope| {
        for (n, mut receiver) in receivers.into_iter().enumerate() {
            let (disk, out) = (&disks[n], &outs[n]);
            scope.spawn(move || {
                if n >= 2 {
                    while receiver.wait_event("progress", SOON).unwrap()["symbols"].as_u64() < Some(500) {}
                    fill(disk, 0);
                }
                let finished = receiver.finish(SOON).unwrap();
                // On the RAM disk both staging and journal are short of room, and either may come first.
                let what = ["bytes of staging at", "bytes of staging at", "fleetcast", "cannot write the journal"][n];
                assert_as_before(&finished, disk, out, &[what, "free some space, or give another folder with --state"]);
            });
        }
    });
    disks.iter().for_each(|disk| fs::remove_file(disk.join("filler")).unwrap());
    let again: Vec<Process> = (0..4).map(start).collect();
    for (n, receiver) in again.into_iter().enumerate() {
        let finished = receiver.finish(SOON).unwrap();
        assert_eq!(finished.code(), Some(0), "receiver {n}: {}", finished.stderr);
        assert_eq!(image::sha256(&outs[n]).unwrap(), release.sha256, "receiver {n}");
        let summary = finished.event("summary").unwrap();
        let kept = summary["restored_blocks"].as_u64().unwrap() + summary["restored_symbols"].as_u64().unwrap();
        assert!(n < 2 || kept > 0, "receiver {n} has lost what it had: {summary}");
        assert!(!disks[n].join("staging").exists());
    }
    sender.signal(Signal::INT).unwrap();
    assert_eq!(sender.finish(SOON).unwrap().code(), INTERRUPTED);
}

/// One receiver on the loopback, which gets no packet.
struct Desk {
    binaries: Binaries,
    scratch: Scratch,
    key: KeyPair,
}

impl Desk {
    fn new() -> Self {
        let (binaries, scratch) = (Binaries::beside_this_program().unwrap(), Scratch::new().unwrap());
        let key = KeyPair::generate(&binaries, scratch.path(), "release").unwrap();
        Self { binaries, scratch, key }
    }

    fn receiver(&self, state: &Path, out: &Path) -> Command {
        let mut command = Command::new(&self.binaries.recv);
        command.args([
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
        command.args(["--product", "p", "--hardware", "h", "--once", "--timeout", "30s", "--json", "--trust"]);
        command.arg(&self.key.public).arg("--state").arg(state).arg("--out").arg(out);
        command
    }

    #[track_caller]
    fn assert_fails(&self, command: Command, messages: &[&str]) {
        let finished = Process::spawn("receiver", command).unwrap().finish(SOON).unwrap();
        assert_eq!(finished.code(), ENVIRONMENT, "{}", finished.stderr);
        for message in messages {
            assert!(finished.stderr.contains(message), "{}\nlacks {message:?}", finished.stderr);
        }
        assert!(finished.event("joined").is_none(), "found too late");
    }
}

#[test]
fn a_state_folder_that_cannot_be_used() {
    let desk = Desk::new();
    let file = desk.scratch.join("file");
    fs::write(&file, "content").unwrap();
    for state in [&file, Path::new("/proc/no-such-folder/state")] {
        let shown = state.display().to_string();
        let messages = ["cannot make the state folder", &shown, "give a folder with --state that can be written to"];
        desk.assert_fails(desk.receiver(state, &desk.scratch.join("out")), &messages);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "content");
}

#[test]
fn a_read_only_file_system() {
    skip_without_lab!();
    let desk = Desk::new();
    let mount = Mount::new(FileSystem::Tmpfs, desk.scratch.join("flash"), 1 << 20).unwrap();
    let state = mount.folder().join("state");
    fs::create_dir(mount.seen_from_outside().join("state")).unwrap();
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,ro"]).arg(mount.folder());
    fleetcast_tests::command::run(&mut mount.command(&remount)).unwrap();
    let messages = ["cannot write to the state folder:", "Read-only file system", "give a folder with --state"];
    desk.assert_fails(mount.command(&desk.receiver(&state, &desk.scratch.join("out"))), &messages);
    let messages =
        ["cannot put an image at", "its folder is not writable (Read-only file system", "give another --out"];
    desk.assert_fails(mount.command(&desk.receiver(&desk.scratch.join("state"), &state.join("out"))), &messages);
}

#[test]
fn a_final_name_that_cannot_be_is_found_before_anything_is_received() {
    let desk = Desk::new();
    let state = desk.scratch.join("state");
    for (out, reason) in
        [(desk.scratch.join("missing/out"), "there is no folder"), (desk.scratch.path().into(), "it is a folder")]
    {
        let messages = ["cannot put an image at", reason, "give another --out, or make its folder writable"];
        desk.assert_fails(desk.receiver(&state, &out), &messages);
    }
    assert!(!state.exists());
}

#[test]
fn two_receivers_do_not_share_a_state_folder() {
    let desk = Desk::new();
    let (state, out) = (desk.scratch.join("state"), desk.scratch.join("out"));
    let mut first = Process::spawn("the first receiver", desk.receiver(&state, &out)).unwrap();
    first.wait_event("joined", SOON).unwrap();
    let messages =
        ["is in use by another receiver", "stop that one, or give this one a folder of its own with --state"];
    desk.assert_fails(desk.receiver(&state, &out), &messages);
    first.signal(Signal::INT).unwrap();
    assert_eq!(first.finish(SOON).unwrap().code(), INTERRUPTED, "the first goes on");
}

#[test]
fn a_damaged_record_of_what_is_installed_is_no_reason_to_take_anything() {
    let desk = Desk::new();
    let state = desk.scratch.join("state");
    fs::create_dir(&state).unwrap();
    for damaged in ["", "{}", &INSTALLED[..60], &INSTALLED.replace("abab", "xyzz"), "\0\0\0\0"] {
        fs::write(state.join("installed.json"), damaged).unwrap();
        let messages = ["installed.json is damaged", "restore it, or remove it to accept any release"];
        desk.assert_fails(desk.receiver(&state, &desk.scratch.join("out")), &messages);
        assert_eq!(fs::read_to_string(state.join("installed.json")).unwrap(), damaged);
    }
}
