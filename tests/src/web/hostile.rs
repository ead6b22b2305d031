//! A web server that does what no web server should. It holds the right image, so that whatever is wrong is meant.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::LabError;
use crate::namespace::Namespace;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malice {
    /// Every 500th byte is wrong.
    WrongBytes,
    /// The whole file, with 200.
    WholeFile,
    /// Ends the connection in the middle of the body.
    Cut,
    /// A byte every 100 ms.
    SlowDrip,
    /// Says that it gives other bytes.
    WrongContentRange,
    /// Says nothing of which bytes it gives.
    NoContentRange,
    /// Says that the file has another length.
    OtherLength,
    /// More body than was asked for.
    Overlong,
    /// A head without end.
    HugeHead,
    /// Points to another URL: its own.
    Redirect,
    /// Says that the body is compressed.
    Encoded,
    /// Takes the connection and says nothing.
    Silent,
    /// No HTTP at all.
    Garbage,
    /// 503.
    Unavailable,
}

impl Malice {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::WrongBytes,
        Self::WholeFile,
        Self::Cut,
        Self::SlowDrip,
        Self::WrongContentRange,
        Self::NoContentRange,
        Self::OtherLength,
        Self::Overlong,
        Self::HugeHead,
        Self::Redirect,
        Self::Encoded,
        Self::Silent,
        Self::Garbage,
        Self::Unavailable,
    ];
}

/// A hostile server; its threads end with the test's process.
#[derive(Debug)]
pub struct Hostile {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Hostile {
    /// Listens in `namespace` at `address`, on any free port, and has `image`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(namespace: &Namespace, address: IpAddr, malice: Malice, image: Vec<u8>) -> Result<Self, LabError> {
        let listener = namespace
            .enter(|| TcpListener::bind((address, 0)))?
            .map_err(LabError::io(format!("listen at {address}")))?;
        let address = listener.local_addr().map_err(LabError::io("ask for the port"))?;
        let (requests, image) = (Arc::<AtomicU64>::default(), Arc::new(image));
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (counter, image) = (Arc::clone(&counter), Arc::clone(&image));
                // A client that goes away ends its thread.
                thread::spawn(move || drop(serve(&connection, malice, &image, &counter)));
            }
        });
        Ok(Self { address, requests })
    }

    /// The URL of the folder that it pretends to serve.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Requests that came.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Reads requests and misbehaves.
fn serve(connection: &TcpStream, malice: Malice, image: &[u8], requests: &AtomicU64) -> io::Result<()> {
    // Heads and bodies are written apart.
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    loop {
        let Some((path, range)) = read_request(&mut reader)? else { return Ok(()) };
        requests.fetch_add(1, Ordering::Relaxed);
        if !answer(connection, malice, image, &path, range)? {
            return Ok(());
        }
    }
}

/// The path and the range of the next request.
fn read_request(reader: &mut impl io::BufRead) -> io::Result<Option<(String, Range<usize>)>> {
    let (mut path, mut range) = (String::new(), 0..0);
    for line in reader.by_ref().lines() {
        let line = line?;
        if line.is_empty() {
            return Ok(Some((path, range)));
        }
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next().unwrap_or_default().to_owned();
        }
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("range: bytes=")
            && let Some((first, last)) = bytes.split_once('-')
        {
            range = first.parse().unwrap_or(0)..last.parse().unwrap_or(0) + 1;
        }
    }
    Ok(None)
}

/// Answers one request; false when the connection ends.
fn answer(
    mut connection: &TcpStream,
    malice: Malice,
    image: &[u8],
    path: &str,
    range: Range<usize>,
) -> io::Result<bool> {
    let mut body = image.get(range.clone()).unwrap_or_default().to_vec();
    let (mut status, mut content_range) =
        ("206 Partial Content", format!("Content-Range: bytes {}-{}/{}\r\n", range.start, range.end - 1, image.len()));
    let mut len = body.len();
    match malice {
        Malice::WrongBytes => body.iter_mut().step_by(500).for_each(|byte| *byte ^= 0xA5),
        Malice::WholeFile => {
            (status, content_range, body, len) = ("200 OK", String::new(), image.to_vec(), image.len());
        }
        Malice::WrongContentRange => content_range = format!("Content-Range: bytes 0-{}/{}\r\n", len, image.len()),
        Malice::NoContentRange => content_range = String::new(),
        Malice::OtherLength => content_range = content_range.replace(&format!("/{}", image.len()), "/999999999"),
        Malice::Overlong => (body, len) = (vec![0; 50_000_000], 50_000_000),
        Malice::HugeHead => content_range = format!("X-Filler: {}\r\n", "x".repeat(1000)).repeat(1000),
        Malice::Redirect => (status, content_range) = ("302 Found", format!("Location: {path}\r\n")),
        Malice::Encoded => content_range += "Content-Encoding: gzip\r\n",
        Malice::Unavailable => status = "503 Service Unavailable",
        Malice::Silent => {
            thread::sleep(Duration::from_secs(30));
            return Ok(false);
        }
        Malice::Garbage => {
            connection.write_all(&[0x16; 500])?;
            return Ok(false);
        }
        Malice::Cut | Malice::SlowDrip => {}
    }
    connection.write_all(format!("HTTP/1.1 {status}\r\n{content_range}Content-Length: {len}\r\n\r\n").as_bytes())?;
    match malice {
        Malice::Cut => {
            connection.write_all(&body[..body.len() / 2])?;
            Ok(false)
        }
        Malice::SlowDrip => {
            for byte in body {
                connection.write_all(&[byte])?;
                thread::sleep(Duration::from_millis(100));
            }
            Ok(true)
        }
        _ => connection.write_all(&body).map(|()| true),
    }
}
