//! Kills: a receiver or a sender that ends at any moment and is started again goes on where it was.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use fleetcast_protocol::simulation::Random;
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::lab::INTERFACE;
use fleetcast_tests::loss::Loss;
use fleetcast_tests::process::Process;
use fleetcast_tests::release::Release;
use fleetcast_tests::skip_without_lab;
use rustix::process::Signal;

const ONCE: [&str; 3] = ["--once", "--timeout", "20s"];
const LONG: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(30);
/// A pass without end, over all blocks at once: no block is whole before the image nearly is.
const CAROUSEL: [&str; 6] = ["--repair", "10%", "--interleave", "all", "--passes", "forever"];

fn fleet(receivers: usize) -> Fleet {
    Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, receivers).unwrap()
}

fn send(fleet: &Fleet, release: &Release, rate: &str) -> Process {
    fleet.sender(release).args(CAROUSEL).args(["--rate", rate]).spawn().unwrap()
}

/// Bytes that arrived at receiver `index`, whether anybody took them or not.
fn arrived(fleet: &Fleet, index: usize) -> u64 {
    fleet.lab.receivers()[index].link(INTERFACE).counters().unwrap().rx_bytes
}

#[track_caller]
fn assert_received(fleet: &Fleet, index: usize, receiver: Process, release: &Release) -> serde_json::Value {
    let finished = receiver.finish(LONG).unwrap();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert_eq!(image::sha256(&fleet.device(index).out).unwrap(), release.sha256);
    finished.event("summary").unwrap().clone()
}

/// The state folder's file of receiver 0.
fn file(fleet: &Fleet, name: &str) -> PathBuf {
    fleet.device(0).state.join(name)
}

/// One receiver is killed 20 times at random moments, another never; both hear the same stream.
#[test]
fn twenty_kills_cost_less_than_a_third_more_bytes() {
    skip_without_lab!();
    const KILLS: usize = 20;
    let fleet = fleet(2);
    let release = fleet.release(100_000_000, 1).unwrap();
    let mut receivers: Vec<Process> = (0..2).map(|index| fleet.receiver(index).args(ONCE).spawn().unwrap()).collect();
    fleet.await_joined(&mut receivers).unwrap();
    let sender = send(&fleet, &release, "40M");
    let unharmed = receivers.remove(1);
    let mut killed = receivers.remove(0);
    let mut random = Random::new(20);
    let mut restored = 0;
    for kill in 0..KILLS {
        thread::sleep(Duration::from_millis(random.within(100..=1_600)));
        killed.signal(Signal::KILL).unwrap();
        let ended = killed.finish(SOON).unwrap();
        assert!(ended.event("summary").is_none(), "kill {kill} came too late: {:?}", ended.events.last());
        if let Some(manifest) = ended.event("manifest") {
            restored = manifest["restored_symbols"].as_u64().unwrap();
        }
        killed = fleet.receiver(0).args(ONCE).spawn().unwrap();
    }
    assert!(restored > 30_000, "{restored} of 74,405 symbols were restored at the last restart but one");
    assert_received(&fleet, 0, killed, &release);
    let with_kills = arrived(&fleet, 0);
    assert_received(&fleet, 1, unharmed, &release);
    let without = arrived(&fleet, 1);
    drop(sender);
    println!("with {KILLS} kills {with_kills} bytes arrived, without {without}");
    assert!(with_kills * 10 <= without * 13, "{with_kills} bytes arrived with {KILLS} kills, {without} without");
}

#[test]
fn a_damaged_journal_costs_bytes_only() {
    skip_without_lab!();
    let mut fleet = fleet(1);
    fleet.lab.set_losses(fleet.channel.port, &[Loss::new(3, 20_000)]).unwrap();
    let release = fleet.release(20_000_000, 1).unwrap();
    let mut receivers = vec![fleet.receiver(0).args(ONCE).spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let sender = send(&fleet, &release, "60M");
    let mut receiver = receivers.remove(0);
    let stale = file(&fleet, "journal.stale");
    let mut seen = Vec::new();
    // Torn at the end, bytes changed, another run's, none at all: one after the other, each after a kill.
    receiver.wait_event("manifest", SOON).unwrap();
    for damage in ["torn", "forged", "stale", "none"] {
        thread::sleep(Duration::from_millis(300));
        receiver.signal(Signal::KILL).unwrap();
        receiver.finish(SOON).unwrap();
        let journal = file(&fleet, "journal");
        let len = fs::metadata(&journal).unwrap().len();
        assert!(len > 1_000, "{damage}: the journal has {len} bytes");
        match damage {
            "torn" => {
                fs::copy(&journal, &stale).unwrap();
                OpenOptions::new().write(true).open(&journal).unwrap().set_len(len - 7).unwrap();
            }
            "forged" => {
                let file = OpenOptions::new().write(true).open(&journal).unwrap();
                (50..len).step_by(97).for_each(|at| file.write_all_at(&[0xA5], at).unwrap());
            }
            "stale" => fs::rename(&stale, &journal).unwrap(),
            _ => fs::remove_file(&journal).unwrap(),
        }
        receiver = fleet.receiver(0).args(ONCE).spawn().unwrap();
        let manifest = receiver.wait_event("manifest", SOON).unwrap();
        seen.push((damage, manifest["restored_symbols"].as_u64().unwrap()));
    }
    let summary = assert_received(&fleet, 0, receiver, &release);
    drop(sender);
    assert!(seen[0].1 > 0 && seen[1].1 > 0 && seen[2].1 > 0 && seen[3].1 == 0, "{seen:?}");
    assert_eq!(summary["corrupt_blocks"], 0, "{summary}");
}

/// Killed, and started again with the same manifest: another TSI, the same upgrade.
#[test]
fn a_killed_sender_goes_on_with_the_same_upgrade() {
    skip_without_lab!();
    let fleet = fleet(1);
    let release = fleet.release(20_000_000, 1).unwrap();
    let mut receivers = vec![fleet.receiver(0).args(ONCE).spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let mut kept = Vec::new();
    let mut receiver = receivers.remove(0);
    for _ in 0..3 {
        let sender = send(&fleet, &release, "60M");
        let progress = receiver.wait_event("progress", SOON).unwrap();
        kept.push(progress["symbols"].as_u64().unwrap());
        sender.signal(Signal::KILL).unwrap();
        sender.finish(SOON).unwrap();
    }
    assert!(kept.is_sorted() && kept[0] > 0, "{kept:?}");
    let sender = send(&fleet, &release, "60M");
    let finished = receiver.finish(LONG).unwrap();
    drop(sender);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), release.sha256);
    let summary = finished.event("summary").unwrap();
    let once = 20_000_000 / 1_344 + 1;
    // Blocks are tried with two symbols more than they need.
    assert!(summary["symbols"].as_u64().unwrap() <= once + 2 * 8, "each symbol was taken once: {summary}");
}
