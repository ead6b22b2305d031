//! The third ring of repair: fetches byte ranges of the image from web servers, on a thread of its own.
//!
//! What to fetch, from whom and when is for the session to say ([`ranges`](fleetcast_protocol::session::receiver::ranges));
//! here is the I/O. One connection at a time, one range after the other: single ranges over a connection that is kept are
//! what every web server and CDN answers, where many ignore a request of several.

mod client;
mod spent;

pub use client::FetchError;
pub use spent::{read_spent, write_spent};

use crate::wake::Wake;
use client::Client;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use fleetcast_protocol::session::receiver::ranges::{Fetch, FetchEnd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Bytes of symbols that are handed over at a time, about.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that wait for the loop at most: what a fast server gives waits in its connection.
const CHUNKS_WAITING: usize = 8;

/// What comes of a fetch.
#[derive(Debug)]
pub enum Fetched {
    /// Symbols, the last one of the image perhaps shorter than T.
    Symbols {
        /// As in the request.
        generation: u32,
        /// ESI of the first.
        first_esi: u32,
        /// Their bytes, one after the other.
        bytes: Vec<u8>,
    },
    /// It is over.
    End {
        /// For the session.
        end: FetchEnd,
        /// What was asked for.
        url: String,
        /// Which block.
        sbn: u8,
        /// Why the server failed.
        error: Option<FetchError>,
    },
}

/// The thread that fetches.
#[derive(Debug)]
pub struct Fetcher {
    jobs: Sender<(Fetch, Arc<AtomicBool>)>,
    results: Receiver<Fetched>,
    wake: Wake,
    /// Set to end the fetch under way before its next range.
    cancelled: Arc<AtomicBool>,
}

impl Fetcher {
    /// Starts the thread; a server may take `timeout` for an answer, and more for a long one.
    pub fn start(timeout: Duration) -> io::Result<Self> {
        let wake = Wake::new()?;
        // The session asks for one fetch at a time; more wait only when it goes on to other upgrades quickly.
        let (jobs, incoming) = unbounded::<(Fetch, Arc<AtomicBool>)>();
        let (results, finished) = bounded(CHUNKS_WAITING);
        let waker = wake.clone();
        // It is not waited for when the receiver ends: a server that is slow to answer would hold it up.
        thread::Builder::new().name("fetcher".into()).spawn(move || {
            let client = Client::new(timeout);
            for (fetch, cancelled) in incoming {
                let tell = |fetched: Fetched| {
                    // Nobody listens any more only when the receiver ends.
                    let told = results.send(fetched).is_ok();
                    waker.ask();
                    told && !cancelled.load(Ordering::Relaxed)
                };
                run(&client, &fetch, tell);
            }
        })?;
        Ok(Self { jobs, results: finished, wake, cancelled: Arc::default() })
    }

    /// Begins to fetch.
    pub fn fetch(&mut self, fetch: Fetch) {
        self.cancel();
        self.cancelled = Arc::default();
        // Fails only when the thread is gone, and it ends with the receiver.
        let _ = self.jobs.send((fetch, Arc::clone(&self.cancelled)));
    }

    /// What is being fetched is not needed any more.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// What came next, if anything.
    pub fn poll(&self) -> Option<Fetched> {
        self.results.try_recv().ok()
    }

    /// Readable when something came.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Clears the wake-up before what came is polled.
    pub fn clear_wake(&self) {
        self.wake.clear();
    }
}

/// Fetches range by range, as long as `tell` says that what comes is wanted.
fn run(client: &Client, fetch: &Fetch, tell: impl Fn(Fetched) -> bool) {
    let symbol_size = usize::from(fetch.symbol_size);
    let chunk_symbols = (CHUNK_BYTES / symbol_size).max(1);
    let mut end = FetchEnd { generation: fetch.generation, bytes: 0, requests: 0, failed: false };
    let mut error = None;
    for range in &fetch.ranges {
        let mut first_esi = range.first_esi;
        let mut is_wanted = true;
        end.requests += 1;
        let result = client.get(&fetch.url, &range.bytes, fetch.image_len, chunk_symbols * symbol_size, |bytes| {
            // Of a range that breaks off, the last piece may be no whole symbol: the session drops that one.
            let symbols = u32::try_from(bytes.len().div_ceil(symbol_size)).unwrap_or(u32::MAX);
            is_wanted = tell(Fetched::Symbols { generation: fetch.generation, first_esi, bytes });
            first_esi = first_esi.saturating_add(symbols);
            is_wanted
        });
        end.bytes += result.bytes;
        error = result.error;
        if error.is_some() || !is_wanted {
            break;
        }
    }
    end.failed = error.is_some();
    tell(Fetched::End { end, url: fetch.url.clone(), sbn: fetch.sbn, error });
}
