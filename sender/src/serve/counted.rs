//! The body of an answer, whose bytes are counted as they leave.

use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body that counts. It says how long it is, as the one inside does, so that clients get a `Content-Length`.
#[derive(Debug)]
pub struct Counted {
    body: UnsyncBoxBody<Bytes, io::Error>,
    bytes: Counter,
}

impl Counted {
    /// Adds the bytes of `body` to `bytes`.
    pub fn new(body: UnsyncBoxBody<Bytes, io::Error>, bytes: Counter) -> Self {
        Self { body, bytes }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes.inc_by(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
