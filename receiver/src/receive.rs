//! The receiver's loop: packets in, session, staging, checker, apply.

use crate::apply::{Apply, ApplyError, apply};
use crate::checker::{CheckError, Checked, Checker};
use crate::ingest::{self, Batch, Interface, Joined, SocketError};
use crate::report::{self, PROGRESS_INTERVAL, Report, manifest_fields, seconds};
use crate::staging::{Staging, StagingError};
use crate::state::{State, StateError, hex};
use fleetcast_protocol::channel::Channel;
use fleetcast_protocol::exit;
use fleetcast_protocol::manifest::{SignedManifest, TrustStore};
use fleetcast_protocol::policy::{Acceptance, Device};
use fleetcast_protocol::session::receiver::{Action, ReceiverSession, StagingLayout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// recvmmsg calls in a row before checks and time are looked at again.
const BATCHES_PER_TURN: usize = 8;
/// Longest sleep, so that a stop request and the time-out are seen.
const MAX_SLEEP: Duration = Duration::from_millis(500);

/// A device without a clock cannot tell whether a manifest has expired.
const VALIDITY_UNCHECKED: &str = "the manifest is limited in time, and this device has no clock to check that with";

/// What to receive, for whom, and what to do with it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the stream comes from.
    pub channel: Channel,
    /// Interface name.
    pub interface: String,
    /// Only this session, when given.
    pub tsi: Option<u32>,
    /// Whose manifests count.
    pub trust: TrustStore,
    /// This device's product id.
    pub product: String,
    /// This device's hardware id.
    pub hardware: String,
    /// State folder.
    pub state: PathBuf,
    /// Final name.
    pub out: Option<PathBuf>,
    /// What to do with a verified image.
    pub apply: Apply,
    /// Whether to end after one upgrade.
    pub once: bool,
    /// Longest time without progress, with `once`.
    pub timeout: Option<Duration>,
    /// Events as JSON.
    pub json: bool,
}

/// Why a receiver ended without success.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// No packets can be received.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Staging failed.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A block could not be checked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The image was verified and could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// What was read back is not what was promised.
    #[error(
        "the image read back from staging has SHA-256 {found} where the manifest says {expected}; the medium may be failing"
    )]
    ReadBack {
        /// SHA-256 found, in hex.
        found: String,
        /// SHA-256 of the manifest, in hex.
        expected: String,
    },
    /// Nothing acceptable came in time, and something came that was refused.
    #[error("no acceptable manifest within {seconds} s; the last one heard was refused: {reason}")]
    Refused {
        /// The time-out in seconds.
        seconds: f64,
        /// Why.
        reason: String,
    },
    /// Nothing came in time.
    #[error(
        "no progress for {seconds} s ({state}); is the sender sending, and does the network carry {channel} to this interface?"
    )]
    Timeout {
        /// The time-out in seconds.
        seconds: f64,
        /// How far it was.
        state: String,
        /// The channel.
        channel: String,
    },
    /// SIGINT or SIGTERM.
    #[error("interrupted; run the same command again to continue")]
    Interrupted,
    /// The kernel failed us.
    #[error("the receiver cannot go on: {0}")]
    Kernel(#[from] io::Error),
}

impl ReceiveError {
    /// The exit code for this kind of failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Socket(_) | Self::State(_) | Self::Staging(_) => exit::ENVIRONMENT,
            Self::Check(CheckError::Staging(_)) => exit::ENVIRONMENT,
            Self::Check(CheckError::Decode { .. }) | Self::Kernel(_) => exit::UNEXPECTED,
            Self::Apply(_) => exit::APPLY,
            Self::ReadBack { .. } => exit::VERIFICATION,
            Self::Refused { .. } => exit::REFUSED,
            Self::Timeout { .. } => exit::TIMEOUT,
            Self::Interrupted => exit::INTERRUPTED,
        }
    }

    /// The word for it in the summary.
    fn result(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Interrupted => "interrupted",
            _ => "failed",
        }
    }
}

/// Receives until the upgrade is done (with `once`), until `stop` is set, or until something fails.
pub fn receive(options: &Options, stop: &AtomicBool) -> Result<(), ReceiveError> {
    let mut run = Run::start(options)?;
    let result = run.turn_until_done(stop);
    run.report.end();
    let word = match &result {
        Ok(word) => word,
        Err(error) => {
            let fields = json!({ "reason": error.to_string(), "exit_code": error.exit_code() });
            // For people, main prints the error.
            if options.json {
                run.report.event("failed", fields, "");
            }
            error.result()
        }
    };
    let summary = report::summary(word, &run.session, run.started, run.dropped);
    let text = format!(
        "{word}: {} symbols, {} of {} blocks decoded, {} dropped by the socket, {:.2} s",
        summary["symbols"],
        summary["decoded_blocks"],
        summary["blocks"],
        run.dropped,
        run.started.elapsed().as_secs_f64()
    );
    run.report.event("summary", summary, &text);
    result.map(|_| ())
}

/// One receiver while it runs.
struct Run<'o> {
    options: &'o Options,
    state: State,
    joined: Joined,
    session: ReceiverSession,
    checker: Checker,
    staging: Option<Arc<Staging>>,
    report: Report,
    started: Instant,
    next_progress: Duration,
    last_refusal: Option<String>,
    dropped: u32,
    /// Set when `once` is satisfied, to the word for the summary.
    done: Option<&'static str>,
}

impl<'o> Run<'o> {
    fn start(options: &'o Options) -> Result<Self, ReceiveError> {
        let state = State::open(&options.state)?;
        let device = Device {
            product: options.product.clone(),
            hardware: options.hardware.clone(),
            floor: state.floor(),
            trusted_time_unix_s: Some(trusted_time_unix_s(&state)),
        };
        let interface = Interface::by_name(&options.interface)?;
        let joined = ingest::open(&options.channel, &interface)?;
        let report = Report::new(options.json);
        let receive = if joined.gro { "recvmmsg with UDP_GRO" } else { "recvmmsg, this kernel has no UDP_GRO" };
        report.event(
            "joined",
            json!({
                "source": options.channel.source, "group": options.channel.group, "port": options.channel.port,
                "interface": interface.name, "ingest": "recvmmsg", "gro": joined.gro,
                "receive_buffer_bytes": joined.receive_buffer_bytes,
            }),
            &format!(
                "joined {} on {} ({receive}, {} KiB of socket buffer); waiting for a manifest",
                options.channel,
                interface.name,
                joined.receive_buffer_bytes / 1024
            ),
        );
        Ok(Self {
            options,
            state,
            joined,
            session: ReceiverSession::new(options.trust.clone(), device, options.tsi),
            checker: Checker::start()?,
            staging: None,
            report,
            started: Instant::now(),
            next_progress: PROGRESS_INTERVAL,
            last_refusal: None,
            dropped: 0,
            done: None,
        })
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn turn_until_done(&mut self, stop: &AtomicBool) -> Result<&'static str, ReceiveError> {
        let mut batch = Batch::default();
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(ReceiveError::Interrupted);
            }
            self.wait()?;
            self.take_packets(&mut batch)?;
            self.take_checks()?;
            self.take_time()?;
            if let Some(word) = self.done {
                return Ok(word);
            }
        }
    }

    /// Sleeps until packets, a check, or a deadline.
    fn wait(&self) -> Result<(), ReceiveError> {
        let now = self.now();
        let deadline = self.session.poll_timeout().unwrap_or(Duration::MAX).min(self.next_progress);
        let sleep = deadline.saturating_sub(now).min(MAX_SLEEP);
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(sleep.subsec_nanos()),
        };
        let wake = self.checker.wake();
        let mut fds = [PollFd::new(&self.joined.socket, PollFlags::IN), PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    fn take_packets(&mut self, batch: &mut Batch) -> Result<(), ReceiveError> {
        for _ in 0..BATCHES_PER_TURN {
            let received = batch.receive(&self.joined.socket)?;
            if received.messages == 0 {
                break;
            }
            self.dropped = received.dropped.unwrap_or(self.dropped);
            let now = self.now();
            for datagram in batch.datagrams() {
                if let (Some(store), Some(staging)) = (self.session.on_packet(now, datagram), &self.staging) {
                    staging.store(&store)?;
                }
                self.take_actions()?;
            }
        }
        Ok(())
    }

    fn take_checks(&mut self) -> Result<(), ReceiveError> {
        self.checker.clear_wake();
        while let Some(Checked { generation, sbn, outcome }) = self.checker.poll() {
            self.session.on_block(self.now(), generation, sbn, outcome?);
        }
        self.take_actions()
    }

    fn take_time(&mut self) -> Result<(), ReceiveError> {
        let now = self.now();
        self.session.on_timeout(now);
        self.take_actions()?;
        if now >= self.next_progress {
            self.next_progress = now + PROGRESS_INTERVAL;
            if self.staging.is_some() {
                self.report.progress(&self.session, now);
            }
        }
        let idle = now.saturating_sub(self.session.last_progress_at());
        match self.options.timeout {
            Some(timeout) if self.options.once && self.done.is_none() && idle >= timeout => {
                Err(self.timed_out(timeout))
            }
            _ => Ok(()),
        }
    }

    fn timed_out(&mut self, timeout: Duration) -> ReceiveError {
        let seconds = timeout.as_secs_f64();
        match (self.session.manifest(), self.last_refusal.take()) {
            (None, Some(reason)) => ReceiveError::Refused { seconds, reason },
            (manifest, _) => ReceiveError::Timeout {
                seconds,
                state: match manifest {
                    None => "no manifest came".to_owned(),
                    Some(_) => format!("{} symbols are lacking", self.session.lacking_symbols()),
                },
                channel: self.options.channel.to_string(),
            },
        }
    }

    fn take_actions(&mut self) -> Result<(), ReceiveError> {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Begin { manifest, acceptance } => self.begin(&manifest, &acceptance)?,
                Action::AlreadyInstalled { manifest } => self.already_installed(&manifest),
                Action::Refused { reason } => self.refused(&reason.to_string()),
                Action::Check(check) => {
                    if let Some(staging) = &self.staging {
                        self.checker.submit(check, staging);
                    }
                }
                Action::Complete => self.complete()?,
            }
        }
        Ok(())
    }

    fn refused(&mut self, reason: &str) {
        let text = format!("manifest refused: {reason}");
        self.report.event("manifest", json!({ "accepted": false, "reason": reason }), &text);
        self.last_refusal = Some(reason.to_owned());
    }

    fn already_installed(&mut self, manifest: &SignedManifest) {
        let content = manifest.manifest();
        let text = format!("{} {} is installed already", content.name, content.version);
        let mut fields = manifest_fields(manifest);
        fields["accepted"] = json!(true);
        fields["installed"] = json!(true);
        self.report.event("manifest", fields, &text);
        if self.options.once {
            self.done = Some("installed");
        }
    }

    /// Prepares staging for an accepted manifest; blocks that it holds from an earlier run are kept.
    fn begin(&mut self, manifest: &SignedManifest, acceptance: &Acceptance) -> Result<(), ReceiveError> {
        let content = manifest.manifest();
        let continued = self.state.continues(manifest);
        if !continued {
            self.state.begin_staging(manifest)?;
        }
        let staging = Arc::new(Staging::open(&self.state.staging_path(), StagingLayout::new(content.partition))?);
        let whole = if continued { whole_blocks(&staging, manifest)? } else { Vec::new() };
        let mut fields = manifest_fields(manifest);
        fields["accepted"] = json!(true);
        fields["restored_blocks"] = json!(whole.len());
        let mut text = format!(
            "accepted {} {} (sequence {}), {} bytes in {} blocks",
            content.name,
            content.version,
            content.sequence,
            content.partition.image_len(),
            content.partition.blocks()
        );
        if continued {
            text += &format!("; {} of them are in staging already", whole.len());
        }
        if acceptance.validity_unchecked() {
            fields["warning"] = json!(VALIDITY_UNCHECKED);
            text += &format!("; warning: {VALIDITY_UNCHECKED}");
        }
        self.report.event("manifest", fields, &text);
        self.report.begin(manifest);
        self.staging = Some(staging);
        self.session.begin(whole);
        Ok(())
    }

    /// Every block is verified: read the image back as a whole, apply it, and raise the floor.
    fn complete(&mut self) -> Result<(), ReceiveError> {
        let (Some(staging), Some(manifest)) = (self.staging.take(), self.session.manifest().cloned()) else {
            return Ok(());
        };
        staging.sync()?;
        let (found, expected) = (staging.read_back()?, manifest.manifest().image_sha256);
        if found != expected {
            return Err(ReceiveError::ReadBack { found: hex(&found), expected: hex(&expected) });
        }
        self.report.end();
        self.report_verified(&manifest);
        let policy = &self.options.apply;
        let path = apply(policy, self.options.out.as_deref(), &manifest, &staging, &self.state)?;
        if *policy != Apply::None {
            self.state.commit(&manifest, unix_s())?;
        }
        let text = match &path {
            Some(path) => format!("applied by policy {}: {}", policy.name(), path.display()),
            None => format!("applied by policy {}", policy.name()),
        };
        let word = if *policy == Apply::None { "verified" } else { "applied" };
        self.report.event(word_event(policy), json!({ "policy": policy.name(), "path": path }), &text);
        if self.options.once {
            self.done = Some(word);
        }
        Ok(())
    }

    fn report_verified(&self, manifest: &SignedManifest) {
        let stats = self.session.stats();
        let loss = self.session.loss().map(|(_, loss)| loss);
        let sha256 = hex(&manifest.manifest().image_sha256);
        let fields = json!({
            "sha256": sha256, "seconds": seconds(self.now()), "symbols": stats.symbols, "blocks": stats.verified_blocks,
            "decoded_blocks": stats.decoded_blocks, "loss": loss, "manifest": hex(&manifest.digest()),
        });
        let loss = loss.map_or(String::new(), |loss| format!(", loss {:.2} %", loss * 100.0));
        let text =
            format!("verified {sha256}: {} of {} blocks decoded{loss}", stats.decoded_blocks, stats.verified_blocks);
        self.report.event("verified", fields, &text);
    }
}

/// Policy `none` stages and applies nothing.
fn word_event(policy: &Apply) -> &'static str {
    match policy {
        Apply::None => "staged",
        Apply::File | Apply::Exec(_) => "applied",
    }
}

/// The blocks of an earlier run whose bytes in staging have the right hash. The hash decides, nothing else is trusted.
fn whole_blocks(staging: &Staging, manifest: &SignedManifest) -> Result<Vec<u8>, StagingError> {
    let content = manifest.manifest();
    let mut bytes = Vec::new();
    let mut whole = Vec::new();
    for range in content.partition.iter() {
        staging.read_block(&range, &mut bytes)?;
        if content.block_matches(range.sbn, &bytes) {
            whole.push(range.sbn);
        }
    }
    Ok(whole)
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The clock, but never earlier than the last upgrade: a device without a battery starts in 1970.
fn trusted_time_unix_s(state: &State) -> u64 {
    unix_s().max(state.installed().map_or(0, |installed| installed.applied_unix_s))
}
