//! The run itself: the lab, the processes in it, and the emulator beside them.

use super::Options;
use super::emulator::{self, Outcome, Plan, REPORT_NETWORK, emulate};
use super::kernel_threads::give_to_kernel_threads;
use super::population::{Member, Population};
use super::result::{Reception, Sender, Twin};
use crate::contest::{CpuTimes, cpu_times_when_ended};
use anyhow::{Context, ensure};
use fleetcast_cli::keys::read_trust;
use fleetcast_protocol::channel;
use fleetcast_protocol::manifest::SignedManifest;
use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::policy::Device;
use fleetcast_receiver::ingest::{Interface, open};
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::lab::INTERFACE;
use fleetcast_tests::loss::Loss;
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::Release;
use fleetcast_tests::{image, interrupt};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A RAM disk that every Linux system has.
const RAM_DISK: &str = "/dev/shm";
const CHANNEL: Channel = Channel::SSM_V4;
/// Where reports go.
const FEEDBACK_PORT: &str = "5001";
/// A receiver gives up after this long without progress.
const IDLE_TIMEOUT: &str = "15s";
/// The bridge goes on sending to members that have left for ten minutes.
const REMEMBER_MEMBERS: &str = "link set br0 type bridge mcast_last_member_interval 60000";
/// What ends and starts takes, at most.
const AFTERMATH: Duration = Duration::from_secs(60);
/// After the sender has ended, blocks that have just enough symbols are still tried.
const QUIET: Duration = Duration::from_millis(700);

/// What happened.
pub struct Played {
    pub members: Vec<Member>,
    pub outcome: Outcome,
    pub sender: Sender,
    pub twins: Vec<Twin>,
    pub image_bytes: u64,
    pub proof: super::result::Proof,
}

/// Builds the lab, sends, and takes stock.
pub fn play(options: &Options) -> anyhow::Result<Played> {
    interrupt::watch().context("cannot watch for signals")?;
    // Decides where the lab's scratch folder is; fails only when it was called before, with the same folder.
    let _ = tempfile::env::override_temp_dir(Path::new(RAM_DISK));
    let real = options.real.min(options.receivers);
    eprintln!(
        "building the lab: a sender, {real} receivers, an emulator of {}; files are in {RAM_DISK}",
        options.receivers
    );
    let mut fleet = Fleet::new(Binaries::beside_this_program()?, CHANNEL, real as usize + 1)?;
    let release = fleet.release(options.size, 1)?;
    let partition = partition(&release)?;
    let members = population(options, real, &partition).draw();
    let own = members.iter().take(real as usize).map(|member| member.loss);
    // The emulator's program loses nothing: it is there for NAPI, which a veth has with a program only.
    let losses: Vec<Loss> = own.chain([Loss::new(0, 0)]).collect();
    fleet.lab.set_losses(CHANNEL.port, &losses)?;
    // As in a network card: super-packets leave whole, and are cut behind the bridge.
    fleet.lab.wire().set_feature("tx-udp-segmentation", true)?;
    // A process that is done leaves the group; its loss program shall see the stream to its end all the same.
    fleet.lab.bridge().namespace().ip(&[REMEMBER_MEMBERS])?;
    if !give_to_kernel_threads(&fleet.lab)? {
        eprintln!("the lab's kernel threads have ordinary priority here: it may drop packets");
    }
    let plan = Plan {
        members: members.clone(),
        real,
        trust: Arc::new(read_trust(std::slice::from_ref(&release.public_key))?),
        device: Arc::new(device(&fleet)),
        partition,
        rate_bps: options.rate,
        seed: options.seed,
    };
    let receivers =
        (0..real as usize).map(|index| fleet.receiver(index).args(["--once", "--timeout", IDLE_TIMEOUT]).spawn());
    let mut receivers = receivers.collect::<Result<Vec<Process>, _>>()?;
    let (outcome, sender) = with_emulator(&fleet, plan, || {
        fleet.await_joined(&mut receivers)?;
        eprintln!("all have joined; sending {} bytes", release.file_bytes);
        send(options, &fleet, &release)
    })?;
    let twins = take_stock(&fleet, receivers, &release, &outcome)?;
    eprintln!("decoding a sample of the emulated blocks with the image's bytes");
    let mut outcome = outcome;
    let prover = std::mem::replace(&mut outcome.prover, super::proof::Prover::new(0));
    let proof = prover.conclude(&File::open(&release.image).context("cannot open the image")?)?;
    Ok(Played { members, outcome, sender, twins, image_bytes: release.file_bytes, proof })
}

fn partition(release: &Release) -> anyhow::Result<Partition> {
    let bytes = fs::read(&release.manifest).context("cannot read the manifest")?;
    Ok(SignedManifest::parse_unverified(&bytes)?.manifest().partition)
}

fn population(options: &Options, real: u32, partition: &Partition) -> Population {
    let wire_bits = partition.total_symbols() * (u64::from(partition.symbol_size()) + 86) * 8;
    Population {
        receivers: options.receivers,
        real,
        loss_ppm: options.loss * 100,
        burst_packets: options.burst,
        dead_permyriad: options.dead,
        late_permyriad: options.late,
        late_until: Duration::from_secs_f64(wire_bits as f64 / options.rate.max(1) as f64 / 2.0),
        seed: options.seed,
    }
}

/// The device that every receiver of the lab says to be.
fn device(fleet: &Fleet) -> Device {
    Device { product: fleet.product.clone(), hardware: fleet.hardware.clone(), floor: None, trusted_time_unix_s: None }
}

/// Runs `work` while the emulator is at work in the lab's last namespace.
fn with_emulator<T>(
    fleet: &Fleet,
    plan: Plan,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(Outcome, T)> {
    let namespace = fleet.lab.receivers().last().context("the lab has no namespace for the emulator")?;
    namespace.ip(&[format!("route add local {REPORT_NETWORK} dev lo")])?;
    let channel = channel::Channel { source: CHANNEL.source, group: CHANNEL.group, port: CHANNEL.port };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel();
        let stop = &stop;
        let emulating = scope.spawn(move || -> anyhow::Result<Outcome> {
            namespace.enter(|| {
                let joined = open(&channel, &Interface::by_name(INTERFACE)?)?;
                ready.send(()).context("nobody waits for the emulator")?;
                emulate(plan, &joined, stop)
            })?
        });
        // An emulator that cannot start says why when it is joined.
        let worked = is_ready.recv_timeout(AFTERMATH).map_or(None, |()| Some(work()));
        thread::sleep(QUIET);
        stop.store(true, Ordering::Relaxed);
        let outcome = emulating.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let worked = match worked {
            Some(worked) => worked?,
            None => return Err(outcome.err().unwrap_or_else(|| anyhow::anyhow!("the emulator did not start"))),
        };
        Ok((outcome?, worked))
    })
}

fn send(options: &Options, fleet: &Fleet, release: &Release) -> anyhow::Result<Sender> {
    let started = Instant::now();
    let sender = fleet.sender(release).args([
        "--rate",
        &options.rate.to_string(),
        "--repair",
        &options.repair,
        "--passes",
        &options.carousel.to_string(),
        "--feedback",
        FEEDBACK_PORT,
        "--group-size",
        &options.receivers.to_string(),
        "--rtt",
        &format!("{}ms", options.rtt.as_millis()),
    ]);
    let sender = sender.spawn()?;
    let line_s = release.file_bytes * 8 * u64::from(options.carousel) / options.rate.max(1);
    let patience = AFTERMATH + Duration::from_secs(3 * line_s);
    let CpuTimes { user_s, system_s } = cpu_times_when_ended(sender.pid(), patience).context("the sender")?;
    let wall_s = started.elapsed().as_secs_f64();
    let sent = sender.finish(AFTERMATH)?;
    ensure!(sent.status.success(), "the sender failed ({}): {}", sent.status, sent.stderr);
    let late = |quantile| {
        let summary = sent.event("summary").and_then(|summary| summary.get("lateness_us")?.get(quantile));
        summary.and_then(Value::as_u64).unwrap_or_default()
    };
    Ok(Sender {
        wall_s,
        user_s,
        system_s,
        packets: count(&sent, "packets"),
        // Its own count: the interface counts a super-packet with the headers of one packet.
        wire_bytes: count(&sent, "bytes"),
        rounds: count(&sent, "rounds"),
        reports: count(&sent, "reports"),
        requested_symbols: count(&sent, "requested_symbols"),
        lateness_us: ["p50", "p99", "p999", "max"].map(late),
    })
}

/// A number in the summary of a program.
fn count(finished: &Finished, field: &str) -> u64 {
    finished.event("summary").and_then(|summary| summary.get(field)).and_then(Value::as_u64).unwrap_or_default()
}

/// Compares every real receiver with its twin.
fn take_stock(
    fleet: &Fleet,
    receivers: Vec<Process>,
    release: &Release,
    outcome: &Outcome,
) -> anyhow::Result<Vec<Twin>> {
    let mut twins = Vec::with_capacity(receivers.len());
    for (index, receiver) in receivers.into_iter().enumerate() {
        let finished = receiver.finish(AFTERMATH)?;
        let counters = fleet.lab.losses().get(index).context("a receiver without a loss program")?.counters()?;
        let out = fleet.device(index).out;
        let complete = image::sha256(&out).is_ok_and(|sha256| sha256 == release.sha256);
        let verified_at = finished.event_at("verified").zip(outcome.began);
        let cpu_s = finished.event("summary").and_then(|summary| summary.get("cpu_s")).and_then(Value::as_f64);
        let real = Reception {
            seen: counters.seen,
            dropped: counters.dropped,
            symbols: count(&finished, "symbols"),
            blocks: u32::try_from(count(&finished, "blocks"))?,
            decoded_blocks: u32::try_from(count(&finished, "decoded_blocks"))?,
            complete,
            completed_s: verified_at.map(|(at, began)| at.saturating_duration_since(began).as_secs_f64()),
        };
        let emulated = outcome.reception(index).context("a receiver without a twin")?;
        twins.push(Twin {
            router: u32::try_from(index)?,
            equal: is_equal(&real, &emulated),
            socket_drops: count(&finished, "socket_drops"),
            cpu_s: cpu_s.unwrap_or_default(),
            real,
            emulated,
        });
        // RAM is for the next one.
        let _ = fs::remove_file(out);
    }
    Ok(twins)
}

/// Whether both came to the same, in all but the time.
///
/// A process that has read back the whole image and found its SHA-256 right may end before it has counted its last blocks:
/// their decoding is then taken as its twin's.
fn is_equal(real: &Reception, emulated: &Reception) -> bool {
    let uncounted = if real.complete { emulated.blocks.saturating_sub(real.blocks) } else { 0 };
    let decoded = (real.decoded_blocks..=real.decoded_blocks + uncounted).contains(&emulated.decoded_blocks);
    let rest = |it: &Reception| (it.seen, it.dropped, it.symbols, it.complete);
    rest(real) == rest(emulated) && real.blocks + uncounted == emulated.blocks && decoded
}

/// Whether the emulator lost nothing and was never late.
pub fn kept_up(played: &Played, rtt: Duration) -> bool {
    let emulator = &played.outcome.emulator;
    emulator.socket_drops == 0
        && emulator.gaps == 0
        && emulator.packets == played.sender.packets
        && emulator.lag_max_s <= emulator::LAG_MAX.as_secs_f64()
        && emulator.round_lag_max_s <= emulator::round_lag_max(rtt).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_is_equal_in_all_but_the_time() {
        let one = Reception {
            seen: 10,
            dropped: 1,
            symbols: 9,
            blocks: 1,
            decoded_blocks: 1,
            complete: true,
            completed_s: Some(1.0),
        };
        assert!(is_equal(&one, &Reception { completed_s: Some(2.0), ..one.clone() }));
        assert!(!is_equal(&one, &Reception { dropped: 2, ..one.clone() }));
        assert!(!is_equal(&one, &Reception { symbols: 8, ..one.clone() }));
        assert!(!is_equal(&one, &Reception { complete: false, ..one.clone() }));
        assert!(!is_equal(&one, &Reception { decoded_blocks: 0, ..one.clone() }));
        let uncounted = Reception { blocks: 0, decoded_blocks: 0, ..one.clone() };
        assert!(is_equal(&uncounted, &one), "it ended before it counted its last block");
        assert!(!is_equal(&Reception { complete: false, ..uncounted.clone() }, &Reception { complete: false, ..one }));
    }
}
