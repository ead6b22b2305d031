//! Tells the sender where this device stands, by HTTP POST, on a thread of its own.
//!
//! Each word waits a random time, so that a fleet does not speak all at once; a later one takes the place of one that still
//! waits. A word that cannot be delivered is tried again a few times, and then given up: the sender takes a silent device for
//! what it is.

use crate::state::{State, StateError};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use fleetcast_protocol::fleet::{DeviceId, DeviceReport, DeviceState};
use fleetcast_protocol::random::Random;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use ureq::Agent;

/// Longest time for one POST.
const POST_TIMEOUT: Duration = Duration::from_secs(5);
/// Times that a report is tried.
const TRIES: u32 = 3;
/// Pause after the first try, twice as long after the next.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How a device reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportOptions {
    /// Where reports go.
    pub url: String,
    /// Each waits for a random part of this.
    pub period: Duration,
    /// How many devices in ten thousand report.
    pub sample_permyriad: u32,
    /// This device's name; one of its own making when not given.
    pub device: Option<DeviceId>,
}

/// The thread that reports.
#[derive(Debug)]
pub struct Reporter {
    device: DeviceId,
    sample_permyriad: u32,
    counter: u64,
    /// Taken to end the thread.
    words: Option<Sender<DeviceReport>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts the thread.
    pub fn start(options: &ReportOptions, state: &State) -> Result<Self, StateError> {
        let device = match &options.device {
            Some(device) => device.clone(),
            None => state.device_id()?,
        };
        let (words, incoming) = unbounded();
        let (url, period) = (options.url.clone(), options.period);
        let failed = |source: io::Error| StateError::Io { what: "report from", path: state.staging_path(), source };
        let seed = getrandom::u64().map_err(|error| failed(io::Error::other(error)))?;
        let run = move || run(&incoming, &url, period, &mut Random::new(seed));
        let thread = thread::Builder::new().name("reporter".into()).spawn(run).map_err(failed)?;
        let counter = state.report_counter();
        Ok(Self {
            device,
            sample_permyriad: options.sample_permyriad,
            counter,
            words: Some(words),
            thread: Some(thread),
        })
    }

    /// What this device is called.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Says where the device stands with the manifest with `manifest_digest`, if it is among those that report.
    pub fn tell(
        &mut self,
        state: &State,
        manifest_digest: [u8; 32],
        stand: DeviceState,
        loss: Option<f64>,
        fetched_bytes: u64,
    ) -> Result<(), StateError> {
        if !self.device.is_sampled(&manifest_digest, self.sample_permyriad) {
            return Ok(());
        }
        // The clock may be wrong and the folder may be lost: the counter falls only when both are.
        self.counter = (self.counter + 1).max(unix_ms());
        state.note_report_counter(self.counter)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share, clamped")]
        let ppm = |loss: f64| (loss.clamp(0.0, 1.0) * 1e6) as u32;
        let report = DeviceReport {
            device: self.device.clone(),
            manifest_digest,
            counter: self.counter,
            state: stand,
            loss_ppm: loss.map(ppm),
            fetched_bytes,
        };
        if let Some(words) = &self.words {
            // Fails only when the thread is gone, and it ends with the reporter.
            let _ = words.send(report);
        }
        Ok(())
    }

    /// Waits until the last word is delivered, or given up.
    pub fn finish(&mut self) {
        self.words = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Delivers the latest word, each after a while.
fn run(words: &Receiver<DeviceReport>, url: &str, period: Duration, random: &mut Random) {
    let agent = Agent::config_builder()
        .timeout_global(Some(POST_TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(true)
        .proxy(None)
        .user_agent(concat!("fleetcast-recv/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    let post = |report: &DeviceReport| {
        agent
            .post(url)
            .content_type("application/cbor")
            .send(&report.to_cbor()[..])
            .is_ok_and(|it| it.status().is_success())
    };
    while let Ok(mut word) = words.recv() {
        let mut wait = random.time_below(period);
        let mut tries = 0;
        loop {
            word = latest_after(words, word, wait);
            tries += 1;
            if post(&word) || tries == TRIES {
                break;
            }
            wait = RETRY_PAUSE * (1 << (tries - 1));
        }
    }
}

/// The latest word when `wait` has passed. When there is nobody left to speak, the wait is for the others' sake all the same.
fn latest_after(words: &Receiver<DeviceReport>, mut word: DeviceReport, wait: Duration) -> DeviceReport {
    let until = Instant::now() + wait;
    loop {
        match words.recv_deadline(until) {
            Ok(later) => word = later,
            Err(RecvTimeoutError::Timeout) => return word,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(until.saturating_duration_since(Instant::now()));
                return word;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Takes POSTs until `count` came; the first `failures` get a 500.
    fn sink(count: usize, failures: usize) -> (String, JoinHandle<Vec<DeviceReport>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/report", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let mut reports = Vec::new();
            for (nth, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 2048];
                let body = loop {
                    let len = stream.read(&mut buffer).unwrap();
                    request.extend_from_slice(&buffer[..len]);
                    let head = request.windows(4).position(|window| window == b"\r\n\r\n");
                    if let Some(report) = head.and_then(|at| DeviceReport::from_cbor(&request[at + 4..]).ok()) {
                        break report;
                    }
                };
                reports.push(body);
                let status = if nth < failures { "500 No" } else { "204 Yes" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                if reports.len() == count {
                    return reports;
                }
            }
            reports
        });
        (url, thread)
    }

    fn options(url: String, sample_permyriad: u32) -> ReportOptions {
        ReportOptions { url, period: Duration::from_millis(50), sample_permyriad, device: None }
    }

    #[test]
    fn the_latest_word_is_delivered_after_failures_too_and_counters_rise_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let (url, reports) = sink(3, 1);
        let state = State::open(folder.path()).unwrap();
        for stand in [DeviceState::Verified, DeviceState::Committed] {
            let mut reporter = Reporter::start(&options(url.clone(), 10_000), &state).unwrap();
            reporter.tell(&state, [1; 32], DeviceState::Receiving, None, 0).unwrap();
            reporter.tell(&state, [1; 32], stand, Some(0.25), 7).unwrap();
            reporter.finish();
        }
        let reports = reports.join().unwrap();
        let states: Vec<&str> = reports.iter().map(|report| report.state.name()).collect();
        assert_eq!(states, ["verified", "verified", "committed"], "the first was answered with 500");
        assert!(reports[2].counter > reports[1].counter);
        assert_eq!((reports[2].loss_ppm, reports[2].fetched_bytes), (Some(250_000), 7));
        assert_eq!(reports[0].device, reports[2].device, "the name it gave itself stays");
        assert_eq!(reports[0].device.as_str().len(), 16);
    }

    #[test]
    fn who_is_not_in_the_sample_says_nothing_and_nobody_waits_for_a_dead_sender_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let start = Instant::now();
        let mut reporter = Reporter::start(&options("http://127.0.0.1:9/report".into(), 0), &state).unwrap();
        reporter.tell(&state, [1; 32], DeviceState::Verified, None, 0).unwrap();
        reporter.finish();
        assert!(start.elapsed() < Duration::from_secs(1));
        let mut reporter = Reporter::start(&options("http://127.0.0.1:9/report".into(), 10_000), &state).unwrap();
        reporter.tell(&state, [1; 32], DeviceState::Verified, None, 0).unwrap();
        reporter.finish();
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
