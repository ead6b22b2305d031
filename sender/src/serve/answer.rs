//! What a request gets.

use super::Content;
use super::counted::Counted;
use super::metrics::Metrics;
use crate::fleet_report::Watch;
use crate::image::State;
use fleetcast_protocol::fleet::MAX_REPORT_LEN;
use fleetcast_protocol::session::receiver::ranges::image_url;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tower_http::services::ServeFile;

/// Where reports go.
const REPORT_PATH: &str = "/report";
/// Longest time for the body of a report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of an answer.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Answers requests.
#[derive(Debug)]
pub struct Answerer {
    content: Content,
    /// Path of the image in URLs.
    path: String,
    metrics: Metrics,
    last_request_at: Mutex<Option<Instant>>,
}

impl Answerer {
    /// Answers with `content`.
    pub fn new(content: Content) -> Self {
        let path = image_url("/", &content.name);
        Self { content, path, metrics: Metrics::new(), last_request_at: Mutex::default() }
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// When something but the metrics was asked for last.
    pub fn last_request_at(&self) -> Option<Instant> {
        *self.last_request_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request, and counts it.
    pub async fn answer(&self, peer: IpAddr, request: Request<Incoming>) -> Result<Response<Counted>, Infallible> {
        let is_image = request.uri().path() == self.path;
        let response = self.respond(peer, request).await;
        self.metrics.answer(response.status().as_u16());
        if is_image && response.status() == StatusCode::PARTIAL_CONTENT {
            self.metrics.image_range();
        }
        Ok(response.map(|body| Counted::new(body, self.metrics.body_bytes())))
    }

    async fn respond(&self, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if let (REPORT_PATH, Some(watch)) = (path, &self.content.watch) {
            if *request.method() != Method::POST {
                return text(StatusCode::METHOD_NOT_ALLOWED, "reports are POSTed");
            }
            self.touch();
            return take_report(watch, peer, request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        }
        if path == "/metrics" {
            let mut response = text(StatusCode::OK, &self.metrics.text());
            let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(open_metrics));
            return response;
        }
        self.touch();
        if path == self.path {
            self.image(request).await
        } else if path.strip_suffix(".fcm") == Some(&self.path) {
            let mut response = text(StatusCode::OK, "");
            *response.body_mut() = whole(Bytes::copy_from_slice(&self.content.manifest));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/cose"));
            response
        } else {
            text(StatusCode::NOT_FOUND, "here are only the image that is being sent, its manifest, and /metrics")
        }
    }

    fn touch(&self) {
        *self.last_request_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The image, as long as the file is what it was when the send began.
    async fn image(&self, request: Request<Incoming>) -> Response<Body> {
        let state = State::of_file(&self.content.file);
        if !state.is_ok_and(|state| state.may_have_the_content_of(&self.content.opened)) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the image was changed since the send began");
        }
        // The file that is being sent, even if another has its name by now.
        let path: PathBuf = format!("/proc/self/fd/{}", self.content.file.as_raw_fd()).into();
        let mut file = ServeFile::new(path);
        match file.try_call(request).await {
            Ok(response) => response.map(BodyExt::boxed_unsync),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the image cannot be read"),
        }
    }
}

/// Takes the report in a request's body.
async fn take_report(watch: &Watch, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
    let body = Limited::new(request.into_body(), MAX_REPORT_LEN).collect();
    let Ok(Ok(body)) = tokio::time::timeout(REPORT_TIMEOUT, body).await else {
        return text(StatusCode::BAD_REQUEST, "a report is at most 512 bytes, and not slow");
    };
    match watch.take(peer, &body.to_bytes()) {
        true => text(StatusCode::NO_CONTENT, ""),
        false => text(StatusCode::BAD_REQUEST, "this is no report"),
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
