//! One range of one image from one web server: what is asked, and what counts as an answer.

use fleetcast_protocol::session::receiver::ranges::ContentRange;
use std::io::{self, Read};
use std::ops::Range;
use std::time::{Duration, Instant};
use thiserror::Error;
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body};

/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Longest time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Past its time-out a server must have given so many bytes a second: a slow one is not waited for.
const LEAST_BYTES_PER_S: f64 = 16e3;

/// Why a server did not give what it was asked for.
#[derive(Debug, Error)]
pub enum FetchError {
    /// It sends the whole file.
    #[error("it ignores Range and answers with the whole file (200); use a server that honours Range")]
    IgnoresRange,
    /// It points elsewhere, where an attacker may want us to go.
    #[error("it redirects ({0}), which is not followed; give the final URL")]
    Redirects(u16),
    /// Another status.
    #[error("it answers with status {0}")]
    Status(u16),
    /// `Content-Range` is missing, or is not what was asked for.
    #[error(
        "it answers with other bytes than asked for (Content-Range {found:?}, asked for {asked:?} of {image_len}); is it the same image?"
    )]
    OtherRange {
        /// What it said.
        found: String,
        /// What it was asked for.
        asked: Range<u64>,
        /// Length of the image.
        image_len: u64,
    },
    /// The body is longer or shorter than it says that it is.
    #[error("it announces {found} bytes where {expected} were asked for")]
    OtherLength {
        /// Its `Content-Length`.
        found: u64,
        /// Bytes that were asked for.
        expected: u64,
    },
    /// The body is compressed.
    #[error("it answers with Content-Encoding {0:?}; switch compression off for the image")]
    Encoded(String),
    /// The body ended early.
    #[error("it broke off after {got} of {expected} bytes: {reason}")]
    BrokeOff {
        /// Bytes that came.
        got: u64,
        /// Bytes that were asked for.
        expected: u64,
        /// Why.
        reason: String,
    },
    /// There was no answer at all.
    #[error("{0}")]
    Transport(String),
}

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    /// Bytes of the answer, head included.
    pub bytes: u64,
    /// Why it is not whole.
    pub error: Option<FetchError>,
}

/// An HTTP client that keeps its connection.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    timeout: Duration,
}

impl Client {
    /// A client that waits `timeout` for an answer.
    pub fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            .timeout_recv_response(Some(timeout))
            .timeout_per_read(Some(timeout))
            .max_response_header_size(MAX_HEAD_BYTES)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_redirects(0)
            .http_status_as_error(false)
            // What the environment says would be for interactive programs.
            .proxy(None)
            .accept_encoding("identity")
            .user_agent(concat!("fleetcast-recv/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), timeout }
    }

    /// Asks for `range` of the image, and gives what comes to `take` in pieces of `piece` bytes, until it returns false.
    pub fn get(
        &self,
        url: &str,
        range: &Range<u64>,
        image_len: u64,
        piece: usize,
        take: impl FnMut(Vec<u8>) -> bool,
    ) -> Answer {
        let expected = range.end.saturating_sub(range.start);
        let request =
            self.agent.get(url).header("Range", format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let pace = Pace { started: Instant::now(), timeout: self.timeout };
        match request.call() {
            Err(error) => Answer { bytes: 0, error: Some(FetchError::Transport(error.to_string())) },
            Ok(response) => {
                let head_bytes = head_bytes(response.headers());
                if let Err(error) = check_head(&response, range, image_len) {
                    return Answer { bytes: head_bytes, error: Some(error) };
                }
                let (got, result) = read_body(response.into_body(), expected, piece, &pace, take);
                let error =
                    result.err().map(|reason| FetchError::BrokeOff { got, expected, reason: reason.to_string() });
                Answer { bytes: head_bytes + got, error }
            }
        }
    }
}

/// Bytes of a head as it came, to within a few.
fn head_bytes(headers: &HeaderMap) -> u64 {
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    fields as u64 + "HTTP/1.1 206 Partial Content\r\n\r\n".len() as u64
}

/// Whether the answer is the one part that was asked for, as it lies in the file.
fn check_head(response: &Response<Body>, asked: &Range<u64>, image_len: u64) -> Result<(), FetchError> {
    match response.status().as_u16() {
        206 => {}
        200 => return Err(FetchError::IgnoresRange),
        status @ 300..400 => return Err(FetchError::Redirects(status)),
        status => return Err(FetchError::Status(status)),
    }
    let text = |name| response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if let Some(encoding) = text(header::CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
    {
        return Err(FetchError::Encoded(shortened(encoding)));
    }
    let found = text(header::CONTENT_RANGE).unwrap_or_default();
    if !ContentRange::parse(&found).is_some_and(|range| range.answers(asked, image_len)) {
        return Err(FetchError::OtherRange { found: shortened(found), asked: asked.clone(), image_len });
    }
    let expected = asked.end - asked.start;
    match response.body().content_length() {
        Some(found) if found != expected => Err(FetchError::OtherLength { found, expected }),
        _ => Ok(()),
    }
}

/// What a server says is shown, but not pages of it.
fn shortened(text: String) -> String {
    text.chars().take(80).collect()
}

/// How fast an answer comes.
struct Pace {
    started: Instant,
    timeout: Duration,
}

impl Pace {
    /// An error when `got` bytes are too few by now.
    fn check(&self, got: u64) -> io::Result<()> {
        let over = self.started.elapsed().saturating_sub(self.timeout);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let is_slow = (got as f64) < over.as_secs_f64() * LEAST_BYTES_PER_S;
        if is_slow { Err(io::Error::new(io::ErrorKind::TimedOut, "it is slower than 16 kB/s")) } else { Ok(()) }
    }
}

/// Reads `expected` bytes, and no more whatever the server sends.
fn read_body(
    body: Body,
    expected: u64,
    piece: usize,
    pace: &Pace,
    mut take: impl FnMut(Vec<u8>) -> bool,
) -> (u64, io::Result<()>) {
    let mut reader = body.into_reader();
    let mut got = 0;
    while got < expected {
        let len = piece.min(usize::try_from(expected - got).unwrap_or(usize::MAX));
        let mut bytes = vec![0; len];
        let (filled, result) = fill(&mut reader, &mut bytes, |filled| pace.check(got + filled as u64));
        bytes.truncate(filled);
        got += filled as u64;
        let is_wanted = filled == 0 || take(bytes);
        if result.is_err() || !is_wanted {
            return (got, result);
        }
    }
    // The end, so that the connection can be kept.
    let _ = reader.read(&mut [0; 1]);
    (got, Ok(()))
}

/// Fills `bytes` as far as the stream goes, and as long as `check` is content with how much came.
fn fill(stream: &mut impl Read, bytes: &mut [u8], check: impl Fn(usize) -> io::Result<()>) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < bytes.len() {
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => return (filled, Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
        if let Err(error) = check(filled) {
            return (filled, Err(error));
        }
    }
    (filled, Ok(()))
}
