//! The socket that takes reports.

use super::{Report, Reports, SharedStats};
use crossbeam_channel::{Sender, TrySendError, bounded};
use fleetcast_protocol::feedback::MAX_FEEDBACK_LEN;
use fleetcast_protocol::session::sender::FeedbackStats;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;
use thiserror::Error;

/// Reports that wait for the session at most.
const WAITING: usize = 4096;
/// How often it is looked whether to end.
const POLL: Duration = Duration::from_millis(100);

/// Why there is no feedback.
#[derive(Debug, Error)]
pub enum FeedbackError {
    /// The address cannot be bound.
    #[error("cannot take feedback at {address}: {source}; give another --feedback PORT, or leave it out")]
    Bind {
        /// The session's source and the port.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread that takes feedback: {0}")]
    Thread(io::Error),
}

/// The socket, and the thread that reads it: it ends when this is dropped.
#[derive(Debug)]
pub struct FeedbackSocket {
    stop: Arc<AtomicBool>,
    stats: SharedStats,
    address: SocketAddr,
}

impl FeedbackSocket {
    /// Takes reports at `source`:`port`; 0 for any free port.
    ///
    /// # Errors
    /// When the address is taken or is not of this host.
    pub fn open(source: IpAddr, port: u16) -> Result<(Self, Reports), FeedbackError> {
        let address = SocketAddr::new(source, port);
        let failed = |source| FeedbackError::Bind { address, source };
        let socket = UdpSocket::bind(address).map_err(failed)?;
        socket.set_read_timeout(Some(POLL)).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let (outgoing, incoming) = bounded(WAITING);
        let stop = Arc::<AtomicBool>::default();
        let stats = SharedStats::default();
        let asked = Arc::clone(&stop);
        let read = move || read(&socket, &outgoing, &asked);
        thread::Builder::new().name("feedback".into()).spawn(read).map_err(FeedbackError::Thread)?;
        Ok((Self { stop, stats: Arc::clone(&stats), address }, Reports::new(incoming, stats)))
    }

    /// Where reports go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came of feedback so far.
    pub fn stats(&self) -> FeedbackStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FeedbackSocket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read(socket: &UdpSocket, outgoing: &Sender<Report>, stop: &AtomicBool) {
    // One byte more than any report has: what is longer is none, and is seen to be.
    let mut buffer = [0; MAX_FEEDBACK_LEN + 1];
    while !stop.load(Ordering::Relaxed) {
        // An ICMP error of an earlier datagram is no reason to end; we send none.
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let report = Report { from, datagram: buffer[..len].to_vec() };
        if let Err(TrySendError::Disconnected(_)) = outgoing.try_send(report) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn hands_on_what_comes_and_from_whom() {
        let (socket, reports) = FeedbackSocket::open(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let device = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for datagram in [&b"one"[..], &[7; 3000]] {
            device.send_to(datagram, socket.address()).unwrap();
        }
        let from = device.local_addr().unwrap();
        let wait = Duration::from_secs(5);
        assert_eq!(reports.wait(wait), Some(Report { from, datagram: b"one".to_vec() }));
        let long = reports.wait(wait).unwrap();
        assert_eq!(long.datagram.len(), MAX_FEEDBACK_LEN + 1, "seen to be too long");
        reports.note(FeedbackStats { reports: 2, ..FeedbackStats::default() });
        assert_eq!(socket.stats().reports, 2);
    }

    #[test]
    fn a_port_that_is_taken_is_told() {
        let (socket, _reports) = FeedbackSocket::open(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let port = socket.address().port();
        let error = FeedbackSocket::open(Ipv4Addr::LOCALHOST.into(), port).unwrap_err();
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}
