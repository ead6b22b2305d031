//! Takes what receivers ask for: a UDP socket at the session's source, read by a thread of its own.
//!
//! What counts is for the session to say; here datagrams only wait for it, and when they are too many the latest are lost:
//! receivers repeat what was not heard.

mod socket;

pub use socket::{FeedbackError, FeedbackSocket};

use crossbeam_channel::Receiver;
use fleetcast_protocol::session::sender::FeedbackStats;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who sent it.
    pub from: SocketAddr,
    /// What it says.
    pub datagram: Vec<u8>,
}

/// What came of feedback so far, for the one who reports it.
pub type SharedStats = Arc<Mutex<FeedbackStats>>;

/// The planner's end: reports, and where what came of them is noted.
#[derive(Debug)]
pub struct Reports {
    incoming: Receiver<Report>,
    stats: SharedStats,
}

impl Reports {
    /// Takes reports from `incoming`, and notes in `stats` what comes of them.
    pub fn new(incoming: Receiver<Report>, stats: SharedStats) -> Self {
        Self { incoming, stats }
    }

    /// The next report, if one comes within `time`.
    pub fn wait(&self, time: Duration) -> Option<Report> {
        match self.incoming.recv_timeout(time) {
            Ok(report) => Some(report),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => None,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                // The thread that reads the socket is gone: time still has to pass.
                std::thread::sleep(time);
                None
            }
        }
    }

    /// The reports that are there.
    pub fn ready(&self) -> impl Iterator<Item = Report> + '_ {
        self.incoming.try_iter()
    }

    /// Notes what came of feedback so far.
    pub fn note(&self, stats: FeedbackStats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}
