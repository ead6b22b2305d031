//! The session's side of feedback: what it asks after a pass, and what it makes of the answers.

use super::rounds::{FeedbackConfig, FeedbackStats, Rounds, Step};
use super::{Poll, SenderError, SenderSession, State};
use crate::fleet::repair_for_loss;
use crate::session::profile::Profile;
use crate::session::repair::RepairShare;
use std::net::SocketAddr;
use std::time::Duration;

/// Requested repair leaves so long after its round: time to compute it.
const PREPARATION: Duration = Duration::from_millis(20);

impl SenderSession {
    /// Asks receivers after each pass for what they lack, and sends that.
    ///
    /// # Errors
    /// When the profile has no repair symbols.
    pub fn with_feedback(mut self, config: FeedbackConfig) -> Result<Self, SenderError> {
        if self.profile != Profile::Fleetcast {
            return Err(SenderError::FeedbackProfile);
        }
        self.control.announce_feedback(&config);
        let blocks = self.schedule.partition().blocks();
        self.rounds = Some(Rounds::new(config, &self.control.manifest_digest(), self.control.tsi(), blocks));
        Ok(self)
    }

    /// Plans for each further pass what the largest loss that was reported takes, within the bounds of [`repair_for_loss`].
    /// Never less than for the pass before, so that every pass's repair symbols are fresh.
    #[must_use]
    pub fn with_sized_repair(mut self) -> Self {
        self.is_sized = true;
        self
    }

    /// A datagram came to the feedback port at `now`, from `from`.
    pub fn on_feedback(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) {
        if let (Some(rounds), State::Listen) = (&mut self.rounds, &self.state) {
            rounds.on_feedback(now, from, bytes);
        }
    }

    /// What came of feedback so far; `None` without feedback.
    pub fn feedback_stats(&self) -> Option<FeedbackStats> {
        let planned_repair_symbols = self.schedule.repair_symbols().0;
        self.rounds.as_ref().map(|rounds| FeedbackStats { planned_repair_symbols, ..rounds.stats() })
    }

    pub(super) fn open_round(&mut self, now: Duration) {
        if let Some(rounds) = &mut self.rounds {
            rounds.open(now);
            self.state = State::Listen;
        }
    }

    /// The open round at `now`.
    pub(super) fn listen(&mut self, now: Duration) -> Result<Option<Poll>, SenderError> {
        let Some(rounds) = &mut self.rounds else { return Ok(None) };
        let step = rounds.step(now, &self.schedule);
        match step {
            Step::Announce => {
                self.control.announce_round(Some(rounds.announced()));
                self.queue.push_back(self.control.announcement(self.wire_pass(), true, false)?);
            }
            Step::Listen(until) => return Ok(Some(Poll::Listen(until.min(self.next_control_at)))),
            Step::Repair(symbols) => {
                self.control.announce_round(None);
                self.state = State::Requested { symbols, at: now + PREPARATION };
            }
            Step::Next => self.open_round(now),
            Step::Finished => {
                self.control.announce_round(None);
                self.go_on(now)?;
            }
        }
        Ok(None)
    }

    /// Takes up what was reported, if it asks for more repair than is planned.
    pub(super) fn size_repair(&mut self) {
        let loss_ppm = self.rounds.as_ref().map_or(0, |rounds| rounds.stats().largest_loss_ppm);
        if !self.is_sized || loss_ppm == 0 {
            return;
        }
        let share = RepairShare::from_permyriad(repair_for_loss(loss_ppm));
        let partition = *self.schedule.partition();
        let (large, small) = self.schedule.repair_symbols();
        let repair =
            (share.symbols(partition.largest_k()).max(large), share.symbols(partition.smallest_k()).max(small));
        self.schedule = self.schedule.with_repair(repair);
        self.control.announce_repair(self.schedule.repair_symbols());
    }
}
