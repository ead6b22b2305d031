//! Pacing: how exactly the sender keeps a rate, how late bursts leave, how large they are, and what that takes of a core.
//!
//! The rate and the largest burst are the receiving side's: a sink at the other end of the cable dates every packet in the
//! kernel, from the start of the first burst a second after the first packet to the start of the last. Its largest burst is
//! the most line time by which packets came earlier than the rate allows. Lateness is the sender's word, CPU time that of its
//! whole process over the same time.
//!
//! When the host stalls for longer than a burst, the schedule slips and the sender says by how much. That time is left out of
//! the error and shown beside it.

use crate::contest::cpu_s_now;
use crate::paths::{Counter, PORT, Product};
use crate::report::{Report, Row};
use anyhow::Context;
use fleetcast_cli::units::parse_rate_bps;
use fleetcast_sender::control::ask;
use fleetcast_tests::interrupt;
use fleetcast_tests::pair::Pair;
use fleetcast_tests::sink::{Expected, Sink};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// From the first packet until measuring begins: the lead-in has pauses.
const WARM_UP: Duration = Duration::from_secs(1);
/// Longest that starting and ending may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Line time of a burst of eight packets, below which bursts are not cut apart: a quarter of it ends a burst.
const BURST_PACKETS_BITS: u64 = 8 * 1_430 * 8;
/// A burst at fast rates.
const BURST_NS: u64 = 250_000;

/// What `pacing` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of the image; it is sent again and again.
    #[arg(long, default_value_t = 512 << 20, value_parser = clap::value_parser!(u64).range((1 << 20)..))]
    bytes: u64,
    /// Seconds that each rate is measured for.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The rates, in bits of the wire a second.
    #[arg(long, value_delimiter = ',', value_parser = parse_rate_bps, default_value = "10M,100M,1G,5G")]
    rates: Vec<u64>,
    /// Where the sink counts, and with it where super-packets become packets: in the sender's kernel, or beyond the cable.
    #[arg(long, value_enum, default_value_t = Counter::Xdp)]
    sink: Counter,
    /// Arguments for `fleetcast-send` beside those of the bench, such as `--burst 750us`.
    #[arg(last = true)]
    send: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PacingRow {
    bench: &'static str,
    sink: Counter,
    rate_bps: u64,
    error_ppm: f64,
    late_p50_us: u64,
    late_p99_us: u64,
    burst_max_us: f64,
    cpu_percent: f64,
    slips: u64,
    slipped_us: f64,
}

impl Row for PacingRow {
    const COLUMNS: &'static [&'static str] =
        &["Mbit/s", "error ppm", "late p50 µs", "late p99 µs", "largest burst µs", "CPU %", "slips", "slipped µs"];

    fn cells(&self) -> Vec<String> {
        vec![
            (self.rate_bps / 1_000_000).to_string(),
            format!("{:.1}", self.error_ppm),
            self.late_p50_us.to_string(),
            self.late_p99_us.to_string(),
            format!("{:.1}", self.burst_max_us),
            format!("{:.2}", self.cpu_percent),
            self.slips.to_string(),
            format!("{:.0}", self.slipped_us),
        ]
    }
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    interrupt::watch().context("cannot watch for signals")?;
    let product = Product::new(options.bytes)?;
    let pair = Pair::new(1500, 1)?;
    let mut report = Report::new(io::stdout().lock(), json);
    for &rate_bps in &options.rates {
        report.row(&measure(options, &product, &pair, rate_bps)?)?;
    }
    Ok(report.finish()?)
}

fn measure(options: &Options, product: &Product, pair: &Pair, rate_bps: u64) -> anyhow::Result<PacingRow> {
    let burst_ns = (BURST_PACKETS_BITS * 1_000_000_000 / rate_bps.max(1)).max(BURST_NS);
    let warm_up_ns = u64::try_from(WARM_UP.as_nanos())?;
    let expected = Expected { rate_bps, warm_up_ns, gap_ns: burst_ns / 4 };
    let sink = Sink::attach(options.sink.kind(), pair.sink_link(), PORT, &expected)?;
    let rate = rate_bps.to_string();
    let control = product.control_path();
    let args =
        ["--rate", &rate, "--passes", "forever", "--control", control.to_str().context("a path of ours is text")?];
    let mut sender = product.spawn(pair, args.into_iter().chain(options.send.iter().map(String::as_str)))?;
    sender.wait_event("started", PATIENCE)?;
    thread::sleep(WARM_UP);
    let (start, cpu_before, slips_before) = (Instant::now(), cpu_s_now(sender.pid())?, Slips::ask(&control)?);
    interrupt::check()?;
    thread::sleep(Duration::from_secs(options.seconds));
    let (took, cpu_s) = (start.elapsed(), cpu_s_now(sender.pid())? - cpu_before);
    let (totals, slips) = (sink.totals()?, Slips::ask(&control)?);
    let slipped_s = slips.seconds - slips_before.seconds;
    let pid = i32::try_from(sender.pid()).ok().and_then(Pid::from_raw).context("a sender without a process id")?;
    kill_process(pid, Signal::INT)?;
    let finished = sender.finish(PATIENCE)?;
    let summary = finished.event("summary").with_context(|| format!("no summary: {}", finished.stderr))?;
    let late = |quantile: &str| summary["lateness_us"][quantile].as_u64().unwrap_or_default();
    let (bits, seconds) = totals.bits_and_seconds().context("the sink has seen no bursts")?;
    let measured_bps = bits / (seconds - slipped_s);
    Ok(PacingRow {
        bench: "pacing",
        sink: options.sink,
        rate_bps,
        error_ppm: (measured_bps / rate_bps as f64 - 1.0) * 1e6,
        late_p50_us: late("p50"),
        late_p99_us: late("p99"),
        burst_max_us: totals.burst_max_ns as f64 / 1e3,
        cpu_percent: cpu_s / took.as_secs_f64() * 100.0,
        slips: slips.count - slips_before.count,
        slipped_us: slipped_s * 1e6,
    })
}

/// How often and by how much a sender's schedule has slipped.
struct Slips {
    count: u64,
    seconds: f64,
}

impl Slips {
    fn ask(control: &Path) -> anyhow::Result<Self> {
        let status = ask(control, "status")?;
        let count = status.get("slips").and_then(Value::as_u64).context("the sender tells its slips")?;
        let seconds = status.get("slipped_s").and_then(Value::as_f64).context("the sender tells its slips")?;
        Ok(Self { count, seconds })
    }
}
