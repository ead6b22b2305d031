//! What a flood of packets from a wrong source costs, by what keeps it away, while the real stream arrives.
//!
//! The flood has the right group and port, and enters the receiver's cable as live frames, so that what is measured is the
//! receiving side: on the CPU that floods, the kernel takes each frame as far as the defence lets it. The floor is a program
//! that drops everything there. `socket` is the receiver's source-specific membership, `nft-ingress` and `nft-prerouting` are
//! nftables rules in front of that.
//!
//! The receiver's end of the cable has two queues, as any card has that spreads flows: the flood fills one, and the stream comes by
//! the other. A veth's queue holds 256 packets; on one queue a flood that is faster than the other CPU drains it displaces
//! packets of the stream before any defence has seen them.

mod flood;
mod frames;
pub mod verdict;

use crate::report::{Report, Row};
use anyhow::{Context, ensure};
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::command::run as run_command;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::lab::{INTERFACE, port};
use fleetcast_tests::process::Process;
use fleetcast_tests::release::Release;
use fleetcast_tests::{image, interrupt};
use flood::{Flooded, Tool};
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use verdict::median;

/// Who the flood says that it is.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 9, 9));
/// Small packets: a flood is about their number.
const FLOOD_SYMBOL_BYTES: usize = 32;
const RATE: &str = "100M";
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the receiver waits for more when the flood has cost it packets.
const IDLE_TIMEOUT: &str = "3s";

/// What `filter` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of the image that is sent at 100 Mbit/s while the flood lasts.
    #[arg(long, default_value_t = 25_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// What keeps the flood away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Defence {
    Floor,
    Xdp,
    Socket,
    NftIngress,
    NftPrerouting,
}

impl Defence {
    const ALL: [Self; 5] = [Self::Floor, Self::Xdp, Self::Socket, Self::NftIngress, Self::NftPrerouting];

    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Xdp => "xdp",
            Self::Socket => "socket",
            Self::NftIngress => "nft-ingress",
            Self::NftPrerouting => "nft-prerouting",
        }
    }

    /// Where its rule is, if it is one of nftables.
    fn chain(self) -> Option<(&'static str, String)> {
        match self {
            Self::NftIngress => Some(("netdev", format!("type filter hook ingress device {INTERFACE} priority 0"))),
            Self::NftPrerouting => Some(("ip", "type filter hook prerouting priority raw".to_owned())),
            _ => None,
        }
    }
}

/// One round against one defence.
struct Round {
    flooded: Flooded,
    verified: bool,
    lost: u64,
}

#[derive(Debug, Serialize)]
struct FilterRow {
    bench: &'static str,
    defence: Defence,
    ns: f64,
    above_floor_ns: f64,
    of_socket: f64,
    flood_kpps: f64,
    /// Packets of the stream that were lost, in all rounds; nothing where the floor drops it.
    lost: Option<u64>,
    verified: Option<bool>,
}

impl Row for FilterRow {
    const COLUMNS: &'static [&'static str] =
        &["defence", "ns a packet", "above the floor", "of the socket's", "kpps", "lost", "verified"];

    fn cells(&self) -> Vec<String> {
        let verified = self.verified.map_or("-", |verified| if verified { "yes" } else { "NO" });
        vec![
            self.defence.name().to_owned(),
            format!("{:.0}", self.ns),
            format!("{:.0}", self.above_floor_ns),
            format!("{:.2}", self.of_socket),
            format!("{:.0}", self.flood_kpps),
            self.lost.map_or("-".to_owned(), |lost| lost.to_string()),
            verified.to_owned(),
        ]
    }
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    interrupt::watch().context("cannot watch for signals")?;
    let fleet = Fleet::new(Binaries::beside_this_program()?, Channel::SSM_V4, 1)?;
    let release = fleet.release(options.bytes, 1)?;
    two_queues(&fleet)?;
    let mut rounds: Vec<Vec<Round>> = Defence::ALL.map(|_| Vec::new()).into();
    for number in 1..=options.rounds {
        for (defence, of_defence) in Defence::ALL.into_iter().zip(&mut rounds) {
            let round = measure(&fleet, &release, defence)?;
            let (ns, lost) = (round.flooded.ns_each(), round.lost);
            eprintln!(
                "round {number}: {}: {ns:.0} ns a packet, {lost} lost, verified: {}",
                defence.name(),
                round.verified
            );
            of_defence.push(round);
        }
    }
    let mut report = Report::new(io::stdout().lock(), json);
    let ns: Vec<f64> =
        rounds.iter().map(|it| median(it.iter().map(|round| round.flooded.ns_each()).collect())).collect();
    for ((defence, of_defence), &ns_each) in Defence::ALL.into_iter().zip(&rounds).zip(&ns) {
        let receives = defence != Defence::Floor;
        report.row(&FilterRow {
            bench: "filter",
            defence,
            ns: ns_each,
            above_floor_ns: ns_each - ns[0],
            of_socket: (ns_each - ns[0]) / (ns[2] - ns[0]),
            flood_kpps: 1e6 / ns_each,
            lost: receives.then(|| of_defence.iter().map(|round| round.lost).sum()),
            verified: receives.then(|| of_defence.iter().all(|round| round.verified)),
        })?;
    }
    report.finish()?;
    ensure!(rounds[1].iter().all(|round| round.verified), "a receiver behind the XDP filter did not verify the image");
    Ok(())
}

fn measure(fleet: &Fleet, release: &Release, defence: Defence) -> anyhow::Result<Round> {
    let host = &fleet.lab.receivers()[0];
    let _rule = defence.chain().map(|chain| Rule::add(fleet, chain)).transpose()?;
    let mut floor = None;
    let receiver = if defence == Defence::Floor {
        let mut tool = Tool::drop_all()?;
        tool.attach(host.link(INTERFACE))?;
        floor = Some(tool);
        None
    } else {
        Some(start_receiver(fleet, defence)?)
    };
    // The receiver's end of its cable, as the bridge's host sees it: what leaves there arrives nowhere else.
    let cable = fleet.lab.bridge().namespace();
    let index = cable.enter(|| interface_index(&port(0)))??;
    let flood = Tool::flood(index)?;
    let frame = frames::frame(STRANGER, fleet.channel.group, fleet.channel.port, FLOOD_SYMBOL_BYTES);
    let stop = AtomicBool::new(false);
    let round = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood.send_until(&stop, cable, &frame));
        let received = stream(fleet, release, receiver);
        stop.store(true, Ordering::Relaxed);
        let flooded = flooding.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
        let (verified, lost) = received?;
        anyhow::Ok(Round { flooded, verified, lost })
    });
    drop(floor);
    round
}

/// Two queues between the bridge and the receiver: frames of the flood take that of their CPU, everything else the first.
fn two_queues(fleet: &Fleet) -> anyhow::Result<()> {
    let (cable, name) = (fleet.lab.bridge().namespace(), port(0));
    for (namespace, link) in [(&fleet.lab.receivers()[0], INTERFACE), (cable, &name)] {
        run_command(namespace.command("ethtool").args(["-L", link, "rx", "2", "tx", "2"]))?;
    }
    let cpus = std::thread::available_parallelism()?.get().min(64);
    let all = format!("{:x}", u64::MAX >> (64 - cpus));
    for (queue, cpus) in [("tx-0", all.as_str()), ("tx-1", "0")] {
        let file = format!("/sys/class/net/{name}/queues/{queue}/xps_cpus");
        run_command(cable.command("sh").args(["-c", &format!("echo {cpus} > {file}")]))?;
    }
    Ok(())
}

fn start_receiver(fleet: &Fleet, defence: Defence) -> anyhow::Result<Process> {
    let device = fleet.device(0);
    // A device that never saw the image. What is not there need not be removed.
    let _ = fs::remove_dir_all(&device.state);
    let _ = fs::remove_file(&device.out);
    let filter = if defence == Defence::Xdp { "xdp" } else { "socket" };
    let args = ["--once", "--timeout", IDLE_TIMEOUT, "--filter", filter];
    let mut receivers = [fleet.receiver(0).args(args).spawn()?];
    fleet.await_joined(&mut receivers)?;
    let [receiver] = receivers;
    Ok(receiver)
}

/// Sends the image once; whether it was verified, and how many packets were lost.
fn stream(fleet: &Fleet, release: &Release, receiver: Option<Process>) -> anyhow::Result<(bool, u64)> {
    let sent = fleet.sender(release).args(["--rate", RATE, "--repair", "5%"]).spawn()?.finish(PATIENCE)?;
    ensure!(sent.status.success(), "the sender failed: {}", sent.stderr);
    let Some(receiver) = receiver else { return Ok((false, 0)) };
    let received = receiver.finish(PATIENCE)?;
    let summary = received.event("summary").with_context(|| format!("no summary: {}", received.stderr))?;
    let count = |field: &str| summary.get(field).and_then(Value::as_u64).unwrap_or_default();
    let verified = image::sha256(&fleet.device(0).out).is_ok_and(|sha256| sha256 == release.sha256);
    Ok((verified, count("lost").max(count("socket_drops")) + count("early")))
}

fn interface_index(name: &str) -> anyhow::Result<u32> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// A rule of nftables in the receiver's namespace, until it is dropped.
struct Rule<'f> {
    fleet: &'f Fleet,
    family: &'static str,
}

impl<'f> Rule<'f> {
    fn add(fleet: &'f Fleet, (family, hook): (&'static str, String)) -> anyhow::Result<Self> {
        let (group, port) = (fleet.channel.group, fleet.channel.port);
        let source = fleet.channel.source.context("the channel has a source")?;
        let rules = format!(
            "add table {family} bench; add chain {family} bench c {{ {hook}; }}; \
             add rule {family} bench c ip daddr {group} udp dport {port} ip saddr != {source} drop"
        );
        let mut nft = fleet.lab.receivers()[0].command("nft");
        run_command(nft.arg(rules)).context("Debian's package nftables has nft")?;
        Ok(Self { fleet, family })
    }
}

impl Drop for Rule<'_> {
    fn drop(&mut self) {
        let mut nft = self.fleet.lab.receivers()[0].command("nft");
        // With the namespace it goes in any case.
        let _ = run_command(nft.arg(format!("delete table {} bench", self.family)));
    }
}
