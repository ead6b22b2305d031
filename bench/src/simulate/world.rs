//! The sender, its wire, and the fleet, on one simulated clock.
//!
//! What the sender sends is collected and given to the whole fleet at once, until it listens. While it does, the fleet lives
//! as far ahead as nothing that the sender may still say can reach anybody: twice the shortest path.

use super::fleet::Fleet;
use super::losses::LossModel;
use super::member::{Event, Report, Shared};
use anyhow::Context;
use fleetcast_protocol::feedback::{DIGEST_PREFIX_LEN, Deficits, Feedback, digest_prefix};
use fleetcast_protocol::manifest::{Manifest, SignedManifest, TrustStore, UnverifiedManifest};
use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::session::receiver::{SharedPacket, SymbolRun};
use fleetcast_protocol::session::sender::{FeedbackConfig, FeedbackStats, Outgoing, Poll, SenderConfig, SenderSession};
use fleetcast_protocol::session::{Profile, RepairShare, SymbolId};
use fleetcast_protocol::simulation::{Random, device, release_key};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Ethernet, IPv4 and UDP headers: with the payload, what the sender's interface counts.
pub const HEADERS: u64 = 14 + 20 + 8;
/// The shortest frame without its checksum.
const SHORTEST_FRAME: u64 = 60;
/// What a frame takes of the line beside that: checksum, preamble and gap.
const LINE_OVERHEAD: u64 = 4 + 20;
/// Session id.
const TSI: u32 = 0x5EED;
/// T where the path takes 1,500 bytes, as `seal` chooses it for tagged packets too.
const SYMBOL_SIZE: u16 = 1344;
/// Aimed-at symbols a block.
const BLOCK_SYMBOLS: u32 = 2000;
/// The time at the start, in seconds since 1970.
const NOW_UNIX_S: u64 = 1_800_000_000;
/// Most that is sent on request, in ten thousandths of a pass.
const BUDGET_PERMYRIAD: u32 = 5000;
/// Feedback port.
const PORT: u16 = 5001;
/// After the sender has ended, blocks that have just enough symbols are still tried.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Plan {
    pub receivers: u32,
    pub image_len: u64,
    pub loss: LossModel,
    /// Share of the reports that gets lost.
    pub feedback_loss: f64,
    pub rate_bps: u64,
    pub repair_permyriad: u32,
    pub window_blocks: u16,
    pub passes: u32,
    pub rtt: Duration,
    pub late_permyriad: u32,
    pub liars: u32,
    pub seed: u64,
    pub threads: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub verified: u64,
    /// Bytes on the sender's interface.
    pub wire_bytes: u64,
    pub packets: u64,
    pub reports: u64,
    /// Bytes of all reports, with their headers.
    pub feedback_bytes: u64,
    pub feedback: FeedbackStats,
    /// When the last receiver that completed did.
    pub last_complete: Duration,
    /// When the sender ended.
    pub ended: Duration,
}

struct World {
    session: SenderSession,
    fleet: Fleet,
    trust: Arc<TrustStore>,
    plan: Plan,
    now: Duration,
    wire_bytes: u64,
    packets: u64,
    events: Vec<Event>,
    /// Symbols that follow each other, and when the first one left.
    run: Vec<SymbolId>,
    run_began: Duration,
    /// When the last packet of the events had left.
    line_free_at: Duration,
    /// Time of a data packet on the line.
    tick: Duration,
    /// The round that liars have answered.
    lied_in: u32,
    lie: Random,
    digest_prefix: [u8; DIGEST_PREFIX_LEN],
}

/// Simulates one session to its end.
pub fn simulate(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut world = World::new(plan)?;
    world.run()?;
    let completed = || world.fleet.members().iter().filter_map(|member| member.completed_at());
    Ok(Outcome {
        verified: completed().count() as u64,
        wire_bytes: world.wire_bytes,
        packets: world.packets,
        reports: world.fleet.reports,
        feedback_bytes: world.fleet.report_bytes + world.fleet.reports * HEADERS,
        feedback: world.session.feedback_stats().unwrap_or_default(),
        last_complete: completed().max().unwrap_or_default(),
        ended: world.now,
    })
}

/// A manifest of an image that has no bytes: what is in it is never compared with any.
fn manifest(image_len: u64) -> anyhow::Result<UnverifiedManifest> {
    let partition = Partition::plan(image_len, SYMBOL_SIZE, BLOCK_SYMBOLS)?;
    let device = device(None);
    let manifest = Manifest {
        name: "image".into(),
        product: device.product,
        hardware: vec![device.hardware],
        version: "1".into(),
        sequence: 1,
        image_sha256: [0; 32],
        partition,
        block_sha256: vec![[0; 32]; usize::from(partition.blocks())],
        not_before_unix_s: None,
        expires_unix_s: None,
    };
    let signed = SignedManifest::sign(&manifest, &release_key())?;
    Ok(SignedManifest::parse_unverified(signed.bytes())?)
}

/// Bytes of a packet on the sender's interface.
fn frame_len(payload: usize) -> u64 {
    (HEADERS + payload as u64).max(SHORTEST_FRAME)
}

/// How long a packet takes on the line.
fn line_time(payload: usize, rate_bps: u64) -> Duration {
    let bits = (frame_len(payload) + LINE_OVERHEAD) * 8;
    Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate_bps.max(1))
}

impl World {
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        let manifest = manifest(plan.image_len)?;
        let config = SenderConfig {
            profile: Profile::Fleetcast,
            tsi: TSI,
            passes: Some(plan.passes),
            window_blocks: plan.window_blocks,
            repair: RepairShare::from_permyriad(plan.repair_permyriad),
            rate_bps: plan.rate_bps,
            start_unix_s: NOW_UNIX_S,
        };
        let feedback = FeedbackConfig {
            port: PORT,
            group_size: plan.receivers,
            rtt: plan.rtt,
            budget_permyriad: BUDGET_PERMYRIAD,
        };
        let session = SenderSession::new(&config, &manifest)?.with_feedback(feedback)?;
        let trust = Arc::new(TrustStore::new([release_key().verifying_key()]));
        let tick = line_time(session.writer().packet_len(SymbolId { sbn: 0, esi: 0 }), plan.rate_bps);
        let pass_symbols = u32::try_from(session.schedule().len()).context("the image has too many symbols")?;
        let shared = Shared {
            trust: Arc::clone(&trust),
            device: Arc::new(device(None)),
            loss: plan.loss,
            feedback_loss: plan.feedback_loss,
            delays: (plan.rtt / 4, plan.rtt / 2),
            late: (plan.late_permyriad, tick * pass_symbols),
        };
        Ok(Self {
            fleet: Fleet::new(shared, plan.receivers, plan.seed, plan.threads),
            session,
            trust,
            plan: plan.clone(),
            now: Duration::ZERO,
            wire_bytes: 0,
            packets: 0,
            events: Vec::new(),
            run: Vec::new(),
            run_began: Duration::ZERO,
            line_free_at: Duration::ZERO,
            tick,
            lied_in: 0,
            lie: Random::new(!plan.seed),
            digest_prefix: digest_prefix(&manifest.digest()),
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        loop {
            match self.session.poll(self.now)? {
                Poll::Packet(Outgoing::Symbol { id, .. }) => self.send_symbol(id),
                Poll::Packet(Outgoing::Control(packet)) => self.send_control(packet)?,
                Poll::Wait(until) => {
                    self.end_run()?;
                    self.now = until;
                }
                Poll::Listen(until) => self.listen(until)?,
                Poll::Done => break,
            }
        }
        self.flush()?;
        self.fleet.live(self.now + AFTERMATH);
        Ok(())
    }

    fn send_symbol(&mut self, id: SymbolId) {
        if self.run.is_empty() {
            self.run_began = self.now;
        }
        self.run.push(id);
        self.count(self.session.writer().packet_len(id));
        self.now += self.tick;
    }

    fn send_control(&mut self, packet: Vec<u8>) -> anyhow::Result<()> {
        self.end_run()?;
        self.count(packet.len());
        let (at, len) = (self.now, packet.len());
        let packet = SharedPacket::new(packet, &self.trust);
        if let Some(round) = packet.announcement().and_then(|announcement| announcement.round) {
            self.lie_in(round);
        }
        let idle = self.idle_until(at);
        self.events.push(Event::Control { at, idle, packet });
        self.now += line_time(len, self.plan.rate_bps);
        self.line_free_at = self.now;
        Ok(())
    }

    /// Packets that could have left before `at`, since the last one did.
    fn idle_until(&self, at: Duration) -> u64 {
        let idle = at.saturating_sub(self.line_free_at).as_nanos() / self.tick.as_nanos().max(1);
        u64::try_from(idle).unwrap_or(u64::MAX)
    }

    fn count(&mut self, payload: usize) {
        self.packets += 1;
        self.wire_bytes += frame_len(payload);
    }

    /// The symbols sent last are an event.
    fn end_run(&mut self) -> anyhow::Result<()> {
        if self.run.is_empty() {
            return Ok(());
        }
        let symbols = std::mem::take(&mut self.run);
        let (len, packet_len) = (u32::try_from(symbols.len())?, self.session.writer().packet_len(symbols[0]));
        let run = SymbolRun::new(TSI, self.session.schedule(), self.session.pass(), packet_len, symbols)
            .context("the sender sends symbols of no block")?;
        let (at, tick) = (self.run_began, self.tick);
        let idle = self.idle_until(at);
        self.events.push(Event::Run { at, idle, tick, run, len });
        self.line_free_at = at + tick * len;
        Ok(())
    }

    /// The fleet hears what was sent.
    fn flush(&mut self) -> anyhow::Result<()> {
        self.end_run()?;
        self.fleet.hear(&self.events);
        self.events.clear();
        Ok(())
    }

    /// Nothing is sent before `until` unless a report comes.
    fn listen(&mut self, until: Duration) -> anyhow::Result<()> {
        self.flush()?;
        let ahead = self.plan.rtt / 4 * 2;
        while self.now < until {
            let horizon = until.min(self.now + ahead);
            self.fleet.live(horizon);
            if let Some(report) = self.fleet.report_by(horizon) {
                self.now = self.now.max(report.arrives_at);
                self.session.on_feedback(self.now, address(report.from), &report.datagram);
                return Ok(());
            }
            self.now = horizon;
        }
        Ok(())
    }

    /// Liars claim in each round to lack everything.
    fn lie_in(&mut self, round: u32) {
        if round == self.lied_in {
            return;
        }
        self.lied_in = round;
        for liar in 0..self.plan.liars {
            let lie = Feedback {
                digest_prefix: self.digest_prefix,
                tsi: TSI,
                round,
                deficits: Deficits::from_counts([u32::MAX; 255]),
                loss_ppm: Some(0),
            };
            let arrives_at = self.now + self.plan.rtt / 2 + self.lie.time_below(self.plan.rtt / 2);
            self.fleet.intrude(Report { arrives_at, from: self.plan.receivers + liar, datagram: lie.to_cbor() });
        }
    }
}

/// The address that a receiver reports from: of its own, as fleets behind one address are not the question here.
fn address(index: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 0]) + index), PORT))
}
