//! The emulator: every router of the fleet on the live stream, in one thread beside the one that receives.
//!
//! What the sender sends between two control packets, or in a slice of time, is laid out once as a run of symbols, and each
//! router is told which of it was lost: as in the simulation, but on the stream of a real sender, and with reports that go to
//! its real socket.

use super::account::{Class, Gaps, Lateness, Timeline, histogram, micros};
use super::losses::LossBank;
use super::population::Member;
use super::proof::Prover;
use super::result::{self, Kind, Pacing, Step};
use super::router::Router;
use super::stream::{Chunk, Content, Heard, Received, prefer, receive, thread_cpu};
use anyhow::Context;
use fleetcast_protocol::manifest::TrustStore;
use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::policy::Device;
use fleetcast_protocol::random::mix;
use fleetcast_protocol::session::Schedule;
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::receiver::{Request, SharedPacket, SymbolRun};
use fleetcast_protocol::wire::Packet;
use fleetcast_receiver::ingest::Joined;
use fleetcast_tests::lab::SENDER_V4;
use hdrhistogram::Histogram;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The addresses that routers report from: of their own, as a sender tells reporters apart by them.
pub const REPORT_NETWORK: &str = "10.77.128.0/18";
const FIRST_REPORTER: Ipv4Addr = Ipv4Addr::new(10, 77, 128, 0);
const REPORTERS_A_PORT: u32 = 1 << 14;
const FIRST_REPORT_PORT: u16 = 20_000;
/// A run is cut after this time, or more for a large fleet: completions are late by that much at most, never early.
const RUN: Duration = Duration::from_millis(20);
const RUN_PER_ROUTER: Duration = Duration::from_micros(25);
/// The emulator stands for machines of their own, and shares the cores with every receiver's decoder.
const EMULATOR_PRIORITY: u8 = 5;
/// How often the routers are asked whether their time has come.
const LIFE: Duration = Duration::from_millis(1);
/// While nobody is asked, nothing depends on how late the routers hear what came: but for this it is held in memory.
pub const LAG_MAX: Duration = Duration::from_secs(5);
/// Whoever hears a feedback round later than this has fallen behind: the sender waits for so long after the longest back-off.
pub fn round_lag_max(rtt: Duration) -> Duration {
    2 * rtt + Duration::from_millis(20)
}

/// What is the same for all routers.
pub struct Plan {
    pub members: Vec<Member>,
    /// The first so many stand beside a process that reports for itself.
    pub real: u32,
    pub trust: Arc<TrustStore>,
    pub device: Arc<Device>,
    pub partition: Partition,
    pub rate_bps: u64,
    pub seed: u64,
}

/// What came of it.
pub struct Outcome {
    pub routers: Vec<Router>,
    pub bank: LossBank,
    pub prover: Prover,
    pub timeline: Vec<Step>,
    pub pacing: Pacing,
    pub emulator: result::Emulator,
    /// When the first packet came.
    pub began: Option<Instant>,
}

/// Emulates until `stop`.
pub fn emulate(plan: Plan, joined: &Joined, stop: &AtomicBool) -> anyhow::Result<Outcome> {
    let (out, chunks) = mpsc::channel();
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let received = receive(joined, &out, stop);
            drop(out);
            received
        });
        let emulated = Emulation::new(plan).and_then(|emulation| emulation.run(&chunks));
        drop(chunks);
        if emulated.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let received = receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(emulated?.conclude(&received))
    })
}

struct Emulation {
    plan: Plan,
    routers: Vec<Router>,
    /// When each router wants to be called next; apart from them, so that looking through all is cheap.
    dues: Vec<Duration>,
    bank: LossBank,
    prover: Prover,
    run: Vec<SymbolId>,
    run_began: Duration,
    run_len: Duration,
    packet_len: usize,
    /// By router, the indices in the run that it lost.
    lost: Vec<Vec<u32>>,
    sending: Option<(u32, Schedule, u32)>,
    began: Option<Instant>,
    timeline: Timeline,
    gaps: Gaps,
    lateness: Lateness,
    lag_us: Histogram<u64>,
    /// Whether routers are asked what they lack, and the longest lag while they were.
    is_round: bool,
    round_lag_max: Duration,
    cpu: Duration,
    wall: Duration,
}

impl Emulation {
    fn new(plan: Plan) -> anyhow::Result<Self> {
        let seed = |index: u64| mix(plan.seed ^ mix(index ^ 0xFEED));
        let routers: Vec<Router> = (0u64..)
            .zip(&plan.members)
            .map(|(index, member)| Router::new(member, &plan.trust, &plan.device, seed(index)))
            .collect();
        let losses = plan.members.iter().map(|member| member.loss).collect();
        let prover = Prover::new(plan.seed);
        prover.prepare(plan.partition.largest_k());
        prover.prepare(plan.partition.smallest_k());
        let count = u32::try_from(routers.len()).context("too many routers")?;
        Ok(Self {
            dues: vec![Duration::MAX; routers.len()],
            lost: vec![Vec::new(); routers.len()],
            routers,
            bank: LossBank::new(losses),
            prover,
            run: Vec::new(),
            run_began: Duration::ZERO,
            run_len: RUN.max(RUN_PER_ROUTER * count),
            packet_len: 0,
            sending: None,
            began: None,
            timeline: Timeline::default(),
            gaps: Gaps::default(),
            lateness: Lateness::new(plan.rate_bps)?,
            lag_us: histogram()?,
            is_round: false,
            round_lag_max: Duration::ZERO,
            cpu: Duration::ZERO,
            wall: Duration::ZERO,
            plan,
        })
    }

    fn run(mut self, chunks: &mpsc::Receiver<Chunk>) -> anyhow::Result<Self> {
        prefer(EMULATOR_PRIORITY);
        let (mut lost, mut lived) = (Vec::new(), Duration::ZERO);
        loop {
            match chunks.recv_timeout(LIFE) {
                Ok(chunk) => {
                    let began = *self.began.get_or_insert(chunk.at);
                    let now = chunk.at.saturating_duration_since(began);
                    for packet in chunk.packets {
                        lost.clear();
                        self.hear(now, packet, &mut lost);
                    }
                    if now.saturating_sub(self.run_began) >= self.run_len {
                        self.flush(now);
                    }
                    // By the time of the stream: a router must not find it quiet because its emulator is late.
                    if now.saturating_sub(lived) >= LIFE {
                        lived = now;
                        self.live(now)?;
                    }
                    let lag = chunk.at.elapsed();
                    self.lag_us.saturating_record(micros(lag));
                    if self.is_round {
                        self.round_lag_max = self.round_lag_max.max(lag);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.now();
                    self.flush(now);
                    lived = now;
                    self.live(now)?;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.flush(self.now());
        self.wall = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        self.cpu = thread_cpu();
        Ok(self)
    }

    fn now(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn hear(&mut self, now: Duration, packet: Heard, lost: &mut Vec<u32>) {
        self.bank.draw(packet.identity, lost);
        self.lateness.add(now, packet.len);
        match packet.content {
            Content::Symbol(id) => {
                self.gaps.symbol(id);
                let k = self.plan.partition.k(id.sbn).unwrap_or_default();
                self.timeline.add(now, Class::Symbol { id, k }, packet.len);
                if self.run.is_empty() {
                    (self.run_began, self.packet_len) = (now, packet.len);
                }
                let index = u32::try_from(self.run.len()).unwrap_or(u32::MAX);
                self.run.push(id);
                lost.iter().for_each(|router| self.lost[*router as usize].push(index));
            }
            Content::Control(bytes) => {
                self.timeline.add(now, Class::Control, bytes.len());
                self.flush(now);
                self.control(now, bytes, lost);
            }
        }
    }

    fn control(&mut self, now: Duration, bytes: Vec<u8>, lost: &[u32]) {
        let tsi = Packet::parse(&bytes).ok().and_then(|packet| u32::try_from(packet.header.tsi).ok());
        let packet = SharedPacket::new(bytes, &self.plan.trust);
        if let (Some(announcement), Some(tsi)) = (packet.announcement(), tsi) {
            let (large, small) = announcement.repair_symbols;
            let schedule = Schedule::new(self.plan.partition, announcement.window_blocks, large, small).with_seed(tsi);
            self.gaps.announced(schedule, announcement.pass);
            self.sending = Some((tsi, schedule, announcement.pass));
            self.is_round = announcement.round.is_some();
        }
        let mut lost = lost.iter().peekable();
        for (index, (router, due)) in (0u32..).zip(self.routers.iter_mut().zip(&mut self.dues)) {
            if lost.next_if_eq(&&index).is_none() {
                router.control(now, &packet, &mut self.prover);
                *due = router.due().unwrap_or(Duration::MAX);
            }
        }
    }

    /// The routers hear the symbols that came last.
    fn flush(&mut self, now: Duration) {
        let symbols = std::mem::take(&mut self.run);
        let run = self
            .sending
            .and_then(|(tsi, schedule, pass)| SymbolRun::new(tsi, &schedule, pass, self.packet_len, symbols));
        if let Some(run) = &run {
            for ((router, due), lost) in self.routers.iter_mut().zip(&mut self.dues).zip(&mut self.lost) {
                router.run(now, run, lost, &mut self.prover);
                lost.clear();
                *due = router.due().unwrap_or(Duration::MAX);
            }
        }
        self.run_began = now;
        self.routers.iter_mut().for_each(|router| router.join_by(now));
    }

    /// Routers whose time has come look whether to try a block, or to report.
    fn live(&mut self, now: Duration) -> anyhow::Result<()> {
        for index in 0..self.routers.len() {
            if self.dues[index] > now {
                continue;
            }
            let router = &mut self.routers[index];
            let request = router.live(now, &mut self.prover);
            self.dues[index] = router.due().unwrap_or(Duration::MAX);
            let number = u32::try_from(index)?;
            // The process beside a twin speaks for itself.
            if let Some(request) = request.filter(|_| number >= self.plan.real) {
                self.timeline.add(now, Class::Report, request.datagram.len());
                report(number, &request)?;
            }
        }
        Ok(())
    }

    fn conclude(self, received: &Received) -> Outcome {
        let share = |cpu: Duration, wall: Duration| cpu.as_secs_f64() / wall.as_secs_f64().max(1e-9);
        let (busy, receiving) = (share(self.cpu, self.wall), share(received.cpu, self.wall));
        let lag_s = |us: u64| us as f64 / 1e6;
        let emulator = result::Emulator {
            packets: received.packets,
            socket_drops: received.socket_drops,
            gaps: self.gaps.missing(),
            busy_share: busy,
            receiving_share: receiving,
            headroom: 1.0 / busy.max(receiving).max(1e-9),
            lag_max_s: lag_s(self.lag_us.max()),
            lag_p99_s: lag_s(self.lag_us.value_at_quantile(0.99)),
            round_lag_max_s: self.round_lag_max.as_secs_f64(),
        };
        Outcome {
            routers: self.routers,
            bank: self.bank,
            prover: self.prover,
            timeline: self.timeline.into_steps(),
            pacing: self.lateness.into_pacing(),
            emulator,
            began: self.began,
        }
    }
}

/// Sends a report from the router's own address.
fn report(router: u32, request: &Request) -> anyhow::Result<()> {
    let address = Ipv4Addr::from_bits(FIRST_REPORTER.to_bits() + router % REPORTERS_A_PORT);
    let port = FIRST_REPORT_PORT + u16::try_from(router / REPORTERS_A_PORT).context("too many routers")?;
    let from = SocketAddr::from((address, port));
    let socket = UdpSocket::bind(from).with_context(|| format!("router {router} cannot report from {from}"))?;
    let to = SocketAddr::from((SENDER_V4, request.port));
    socket.send_to(&request.datagram, to).with_context(|| format!("router {router} cannot report to {to}"))?;
    Ok(())
}

impl Outcome {
    /// What router `index` came to.
    pub fn reception(&self, index: usize) -> Option<result::Reception> {
        let router = self.routers.get(index)?;
        let stats = router.stats();
        Some(result::Reception {
            seen: self.bank.seen(),
            dropped: self.bank.dropped(index),
            symbols: stats.symbols,
            blocks: stats.verified_blocks,
            decoded_blocks: stats.decoded_blocks,
            complete: router.completed_at().is_some(),
            completed_s: router.completed_at().map(|at| at.as_secs_f64()),
        })
    }

    /// Every router, for the report.
    pub fn router(&self, index: usize, member: &Member, real: bool) -> Option<result::Router> {
        let router = self.routers.get(index)?;
        let measured = self.bank.dropped(index) as f64 / self.bank.seen().max(1) as f64;
        Some(result::Router {
            kind: member.kind,
            real,
            loss: f64::from(member.loss_ppm) / 1e6,
            measured_loss: if member.kind == Kind::Dead { 1.0 } else { measured },
            joined_s: member.joins_at.as_secs_f64(),
            completed_s: router.completed_at().map(|at| at.as_secs_f64()),
            decoded_blocks: router.stats().decoded_blocks,
            reports: router.reports,
        })
    }
}
