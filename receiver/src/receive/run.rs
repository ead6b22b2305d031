//! One receiver while it runs.

mod asking;
mod fetching;
mod filtering;
mod storing;
mod telling;
mod unsigned;

use super::trust::unix_s;
use super::{Options, ReceiveError, Trust};
use crate::apply::{Apply, apply};
use crate::checker::{Checked, Checker};
use crate::filter::SourceFilter;
use crate::fleet_report::Reporter;
use crate::ingest::{Batch, Interface, Joined};
use crate::journal::JournalFile;
use crate::repair::{Fetcher, read_spent};
use crate::report::Report;
use crate::restore::restore;
use crate::staging::Staging;
use crate::state::State;
use asking::Asking;
use fleetcast_cli::events::PROGRESS_INTERVAL;
use fleetcast_protocol::fleet::DeviceState;
use fleetcast_protocol::hex;
use fleetcast_protocol::manifest::SignedManifest;
use fleetcast_protocol::policy::Acceptance;
use fleetcast_protocol::session::receiver::journal::Journal;
use fleetcast_protocol::session::receiver::{Action, Delivery, ReceiverSession, Restored, StagingLayout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// recvmmsg calls in a row before checks and time are looked at again.
const BATCHES_PER_TURN: usize = 8;
/// Longest sleep, so that a stop request and the time-out are seen.
const MAX_SLEEP: Duration = Duration::from_millis(500);
/// Staging and journal are synced so often: what a device without power may lose.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// One receiver while it runs.
pub struct Run<'o> {
    options: &'o Options,
    state: State,
    joined: Joined,
    /// What keeps packets of other sources away from it.
    filter: SourceFilter,
    session: ReceiverSession,
    checker: Checker,
    /// If anything may be fetched.
    fetcher: Option<Fetcher>,
    /// If the sender may be asked for symbols.
    asking: Option<Asking>,
    /// If the sender is told where this device stands.
    reporter: Option<Reporter>,
    staging: Option<Arc<Staging>>,
    journal: Option<JournalFile>,
    report: Report,
    started: Instant,
    next_progress: Duration,
    next_sync: Duration,
    /// Symbols that were kept when staging was synced last.
    synced_symbols: u64,
    last_refusal: Option<String>,
    said_over_budget: bool,
    dropped: u32,
    /// Set when `once` is satisfied, to the word for the summary.
    done: Option<&'static str>,
}

impl<'o> Run<'o> {
    /// Takes the state folder and joins the channel.
    pub fn start(options: &'o Options) -> Result<Self, ReceiveError> {
        let state = State::open(&options.state)?;
        let interface = Interface::by_name(&options.interface)?;
        let report = Report::new(options.json);
        let (filter, joined) = filtering::open(options, &interface, &report)?;
        if let Trust::Nobody = options.trust {
            report.unauthenticated();
        }
        let asking = Asking::open(options, &interface)?;
        let session = fetching::session(options, options.trust.session(&state, options.tsi))?;
        let mut run = Self {
            options,
            session: asking::session(asking.as_ref(), session)?,
            asking,
            joined,
            filter,
            checker: Checker::start()?,
            fetcher: options.repair.as_ref().map(|repair| Fetcher::start(repair.timeout)).transpose()?,
            reporter: options.fleet_report.as_ref().map(|it| Reporter::start(it, &state)).transpose()?,
            state,
            staging: None,
            journal: None,
            report,
            started: Instant::now(),
            next_progress: PROGRESS_INTERVAL,
            next_sync: SYNC_INTERVAL,
            synced_symbols: 0,
            last_refusal: None,
            said_over_budget: false,
            dropped: 0,
            done: None,
        };
        run.resume()?;
        Ok(run)
    }

    /// Takes up what an earlier run had begun. Packets that come meanwhile wait in the socket.
    fn resume(&mut self) -> Result<(), ReceiveError> {
        let Some(manifest) = self.state.unfinished() else { return Ok(()) };
        let journal = SignedManifest::parse_unverified(&manifest).ok().and_then(|it| self.old_journal(&it.digest()));
        let sessions = journal.as_ref().map_or(&[][..], Journal::sessions);
        match self.session.resume(self.now(), &manifest, sessions) {
            Ok(()) => self.take_actions(),
            Err(reason) => {
                self.refused(&reason.to_string());
                Ok(())
            }
        }
    }

    /// The journal of an earlier run, if it is for the manifest with `digest`. One that cannot be read costs bytes.
    fn old_journal(&self, digest: &[u8; 32]) -> Option<Journal> {
        Journal::parse(&fs::read(self.state.journal_path()).ok()?, digest)
    }

    /// Turns until the upgrade is done, `stop` is set, or something fails; then says how it ended.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), ReceiveError> {
        let mut result = self.turn_until_done(stop);
        if let (Some(journal), Err(ReceiveError::Interrupted | ReceiveError::Timeout { .. })) =
            (&mut self.journal, &result)
            && let Err(error) = journal.flush()
        {
            result = Err(error.into());
        }
        let word = match &result {
            Ok(word) => word,
            Err(error) => {
                self.report.failed(error);
                error.result()
            }
        };
        if let Err(error) = &result {
            self.tell_failure(error);
        }
        self.report.filtered(self.filter.counters());
        self.report.summary(word, &self.session, self.now(), self.dropped);
        self.finish_telling(&result);
        result.map(|_| ())
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
            self.take_fetched()?;
            self.take_time()?;
            self.tend_filter();
            self.ask();
            self.keep_journal()?;
            if let Some(word) = self.done {
                return Ok(word);
            }
        }
    }

    /// Sleeps until packets, a check, or a deadline.
    fn wait(&self) -> Result<(), ReceiveError> {
        let now = self.now();
        let flush = self.journal.as_ref().and_then(JournalFile::next_flush);
        let (fetch, ask) = (self.session.next_fetch_at(), self.session.next_feedback_at());
        let deadlines = [self.session.poll_timeout(), fetch, ask, flush, Some(self.next_progress)];
        let deadline = deadlines.into_iter().flatten().min().unwrap_or(Duration::MAX);
        let sleep = deadline.saturating_sub(now).min(MAX_SLEEP);
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(sleep.subsec_nanos()),
        };
        let wake = self.checker.wake();
        let mut fds =
            vec![PollFd::new(&self.joined.socket, PollFlags::IN), PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        fds.extend(self.fetcher.as_ref().map(|fetcher| PollFd::from_borrowed_fd(fetcher.wake(), PollFlags::IN)));
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
            self.take_datagrams(batch)?;
        }
        Ok(())
    }

    /// Gives a batch to the session, and writes its symbols together where nothing demands that they be there at once.
    fn take_datagrams(&mut self, batch: &Batch) -> Result<(), ReceiveError> {
        let now = self.now();
        let mut symbols = Vec::new();
        for datagram in batch.datagrams() {
            if let Some(store) = self.session.on_packet(now, datagram) {
                self.place(&store, &mut symbols)?;
            }
            if self.session.has_actions() {
                self.store(&mut symbols)?;
                self.take_actions()?;
            }
        }
        self.store(&mut symbols)
    }

    fn take_checks(&mut self) -> Result<(), ReceiveError> {
        self.checker.clear_wake();
        while let Some(checked) = self.checker.poll()? {
            match checked {
                Checked::Block { generation, sbn, outcome } => {
                    self.session.on_block(self.now(), generation, sbn, outcome);
                }
                Checked::Image { generation, sha256 } if generation == self.session.generation() => {
                    self.complete(sha256)?;
                }
                Checked::Image { .. } => {}
            }
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
        // While fetching waits for its time, nothing is overdue.
        let waits_until = self.session.fetching_waits_until().unwrap_or_default();
        let idle = now.saturating_sub(self.session.last_progress_at().max(waits_until));
        match self.options.timeout {
            // Once all blocks are verified nothing is waited for but the medium.
            Some(timeout) if self.options.once && !self.session.is_complete() && idle >= timeout => {
                Err(self.timed_out(timeout))
            }
            _ => Ok(()),
        }
    }

    fn timed_out(&mut self, timeout: Duration) -> ReceiveError {
        let seconds = timeout.as_secs_f64();
        let description = self.options.trust.description();
        match (self.session.delivery(), self.last_refusal.take()) {
            (None, Some(reason)) => ReceiveError::Refused { description, seconds, reason },
            (delivery, _) => ReceiveError::Timeout {
                seconds,
                state: match delivery {
                    None => format!("no {description} came"),
                    Some(_) => format!("{} symbols are lacking", self.session.lacking_symbols()),
                },
                channel: self.options.channel.to_string(),
            },
        }
    }

    fn take_actions(&mut self) -> Result<(), ReceiveError> {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Begin { manifest, acceptance } => self.begin(&manifest, acceptance)?,
                Action::BeginUnsigned { file } => self.begin_unsigned(&file)?,
                Action::AlreadyInstalled { manifest } => self.already_installed(&manifest),
                Action::Refused { reason } => self.refused(&reason.to_string()),
                Action::Check(check) => self.checker.check(check),
                Action::Bound { tsi } => self.note(|journal| journal.session(tsi)),
                Action::Forgotten { sbn } => self.note(|journal| journal.forget(sbn)),
                // The checker is reading the last blocks back, and says when it is done.
                Action::Complete => {}
            }
        }
        Ok(())
    }

    fn refused(&mut self, reason: &str) {
        self.report.refused(self.options.trust.description(), reason);
        self.last_refusal = Some(reason.to_owned());
    }

    fn already_installed(&mut self, manifest: &SignedManifest) {
        self.report.already_installed(manifest);
        self.tell_of(manifest.digest(), DeviceState::Committed);
        self.done_if_once("installed");
    }

    /// Prepares staging for an accepted manifest; what it holds from an earlier run is kept.
    fn begin(&mut self, manifest: &SignedManifest, acceptance: Acceptance) -> Result<(), ReceiveError> {
        let (content, digest) = (manifest.manifest(), manifest.digest());
        let continued = self.state.continues(manifest);
        if !continued {
            self.state.begin_staging(manifest)?;
        }
        let staging = Arc::new(Staging::open(&self.state.staging_path(), StagingLayout::new(content.partition))?);
        let mut journal = JournalFile::create(&self.state.journal_path(), &digest, &content.partition)?;
        let mut found = Vec::new();
        if continued {
            let old = self.old_journal(&digest).unwrap_or_default();
            found = restore(&staging, content, &old, &mut journal)?;
        }
        journal.replace()?;
        let whole: Vec<u8> = found.iter().filter(|(_, it)| *it == Restored::Whole).map(|(sbn, _)| *sbn).collect();
        self.checker.begin(self.session.generation(), &staging, whole);
        self.staging = Some(staging);
        self.journal = Some(journal);
        self.session.begin(self.now(), found);
        self.session.restore_fetched_bytes(read_spent(&self.state.fetched_path(), &digest));
        self.report.accepted(manifest, acceptance, continued.then(|| *self.session.stats()));
        self.tell(DeviceState::Receiving);
        Ok(())
    }

    /// The whole image was read back: finish. A service reports a failure and waits for the next release, which may be
    /// better.
    fn complete(&mut self, sha256: [u8; 32]) -> Result<(), ReceiveError> {
        match self.apply_if_equal(sha256) {
            Err(error) if !self.options.once => {
                self.report.failed_and_goes_on(&error);
                self.tell_failure(&error);
                Ok(())
            }
            result => result,
        }
    }

    /// Compares the image's hash, applies the image, and raises the floor.
    fn apply_if_equal(&mut self, found: [u8; 32]) -> Result<(), ReceiveError> {
        let (Some(staging), Some(delivery)) = (self.staging.take(), self.session.delivery().cloned()) else {
            return Ok(());
        };
        self.journal = None;
        let manifest = match delivery {
            Delivery::Signed(manifest) => manifest,
            Delivery::Unsigned(file) => return self.finish_unsigned(&file, &staging, found),
        };
        let expected = manifest.manifest().image_sha256;
        if found != expected {
            return Err(ReceiveError::ReadBack { found: hex::encode(&found), expected: hex::encode(&expected) });
        }
        self.report.verified(&manifest, &self.session, self.now());
        let policy = &self.options.apply;
        let path = apply(policy, self.options.out.as_deref(), &manifest, &staging, &self.state)?;
        if *policy != Apply::None {
            self.state.commit(&manifest, unix_s())?;
        }
        self.report.applied(policy, path.as_deref());
        self.tell(if *policy == Apply::None { DeviceState::Verified } else { DeviceState::Committed });
        self.done_if_once(if *policy == Apply::None { "verified" } else { "applied" });
        Ok(())
    }

    fn done_if_once(&mut self, word: &'static str) {
        if self.options.once {
            self.done = Some(word);
        }
    }
}
