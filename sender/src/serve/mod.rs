//! The sender as repair server: gives receivers byte ranges of the image, its manifest, and operators metrics.
//!
//! Meant for fleets that one host can serve; larger ones point their receivers at nginx or a CDN. It runs on a thread of its own with
//! an async runtime that nothing else uses, and everything a stranger can make it hold is bounded: connections, the time for a
//! request's head, the time in which a client takes no bytes.

mod answer;
mod counted;
mod metrics;

use crate::fleet_report::Watch;
use crate::image::{Image, State};
use answer::Answerer;
use fleetcast_protocol::session::receiver::ranges::image_url;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_io_timeout::TimeoutStream;

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// A client that takes or gives no byte for so long is dropped.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes: the least that the library allows.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// Pause after a connection that could not be accepted, as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no server.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address cannot be listened at.
    #[error("cannot serve repair at {address}: {source}; give another address or port with --serve-repair")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread or its runtime cannot be started.
    #[error("cannot start the repair server: {0}")]
    Start(io::Error),
}

/// What is served.
#[derive(Debug)]
pub struct Content {
    /// The image's name in its manifest.
    pub name: String,
    /// The file that is being sent, by whatever name.
    pub file: File,
    /// Its state when it was opened.
    pub opened: State,
    /// The manifest as it is signed.
    pub manifest: Vec<u8>,
    /// Who takes reports, if anybody does.
    pub watch: Option<Arc<Watch>>,
}

impl Content {
    /// What is served of `image`.
    ///
    /// # Errors
    /// When the process may open no more files.
    pub fn new(image: &Image, name: &str, manifest: &[u8], watch: Option<Arc<Watch>>) -> Result<Self, ServeError> {
        let file = image.file().map_err(ServeError::Start)?;
        Ok(Self { name: name.to_owned(), file, opened: image.opened(), manifest: manifest.to_vec(), watch })
    }
}

/// A running server; dropped, it ends, and what it is sending breaks off.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    url: String,
    answerer: Arc<Answerer>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `content` at `address`. `source` is where the session comes from: what is announced when every address of the host is
    /// listened at.
    pub fn start(address: SocketAddr, source: IpAddr, content: Content) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let host = if address.ip().is_unspecified() { source } else { address.ip() };
        let url = image_url(&format!("http://{}/", SocketAddr::new(host, address.port())), &content.name);
        let answerer = Arc::new(Answerer::new(content));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Start)?;
        let shared = Arc::clone(&answerer);
        let thread = thread::Builder::new().name("serve-repair".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
            // A read of a slow disk is not waited for.
            runtime.shutdown_background();
        });
        let thread = thread.map_err(ServeError::Start)?;
        Ok(Self { address, url, answerer, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the image, as receivers reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// When something was asked for last.
    pub fn last_request_at(&self) -> Option<Instant> {
        self.answerer.last_request_at()
    }

    /// Bytes of bodies that were given, and requests that were answered.
    pub fn given(&self) -> (u64, u64) {
        self.answerer.metrics().totals()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes connections for ever.
async fn accept(listener: std::net::TcpListener, answerer: Arc<Answerer>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let answerer = Arc::clone(&answerer);
        tokio::spawn(async move {
            let open = answerer.metrics().connection();
            serve(stream, peer.ip(), answerer).await;
            drop((open, place));
        });
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, peer: IpAddr, answerer: Arc<Answerer>) {
    // Heads and small ranges are whole segments: waiting for more would cost a receiver 40 ms each.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(IDLE_TIMEOUT));
    stream.set_write_timeout(Some(IDLE_TIMEOUT));
    let service = service_fn(move |request| {
        let answerer = Arc::clone(&answerer);
        async move { answerer.answer(peer, request).await }
    });
    // An error is the client's: it went away, was too slow, or spoke no HTTP.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .await;
}

#[cfg(test)]
mod tests;
