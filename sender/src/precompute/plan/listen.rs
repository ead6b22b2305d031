//! Listening: the one time at which the planner keeps to the clock instead of running ahead of it.
//!
//! While a feedback round is open, what is sent next depends on what receivers say. So the planner waits until everything
//! planned has left, and then until the session wants to go on or a report comes.

use super::Planner;
use crate::pace::monotonic_now;
use std::time::Duration;

/// What is planned after listening leaves so much later: time for a worker to fill it and for the sending thread to wake.
const LEAD: Duration = Duration::from_millis(2);
/// Longest wait, so that a stop, a slip and a change of rate are seen.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Reports that are taken up at once, at most: the session shall answer meanwhile.
const REPORTS_AT_ONCE: usize = 256;

impl Planner {
    /// Listens until the session's time `until`, or until a report came; the next packet is planned for then. False when
    /// sending was stopped.
    pub(super) fn listen(&mut self, until: Duration) -> bool {
        loop {
            if self.pace.stop.load(std::sync::atomic::Ordering::Relaxed) {
                return false;
            }
            let (planned, reached) = (self.now(), self.reached());
            if reached.is_some_and(|reached| reached >= until) {
                self.mark.pauses += until.saturating_sub(planned);
                self.note_feedback();
                return true;
            }
            let wait = reached.map_or(LONGEST_WAIT, |reached| (until - reached).min(LONGEST_WAIT));
            let Some(reports) = &self.reports else {
                // Nobody listens for reports: then the round passes as it is.
                std::thread::sleep(wait);
                continue;
            };
            let Some(first) = reports.wait(wait) else { continue };
            let at = self.reached().map_or(planned, |reached| reached.clamp(planned, until.max(planned)));
            self.mark.pauses += at - planned;
            self.session.on_feedback(at, first.from, &first.datagram);
            for report in reports.ready().take(REPORTS_AT_ONCE) {
                self.session.on_feedback(at, report.from, &report.datagram);
            }
            self.note_feedback();
            return true;
        }
    }

    /// The session's time that it will be in [`LEAD`]: it stands still until everything planned has left. `None` before the
    /// first packet.
    fn reached(&self) -> Option<Duration> {
        let due = self.pace.timeline.plan().due(self.mark)?;
        Some(self.now() + (monotonic_now() + LEAD).saturating_sub(due))
    }

    /// Tells whoever reports what came of feedback.
    pub(super) fn note_feedback(&self) {
        if let (Some(reports), Some(stats)) = (&self.reports, self.session.feedback_stats()) {
            reports.note(stats);
        }
    }
}
