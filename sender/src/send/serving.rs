//! The repair server of a send: started before the first packet, and left running after the last.

use super::{FleetOptions, SendError};
use crate::image::Image;
use crate::report::Report;
use crate::serve::{Content, Server};
use fleetcast_protocol::manifest::UnverifiedManifest;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether to end.
const POLL: Duration = Duration::from_millis(50);

/// Starts the server that the options ask for.
pub fn start(
    options: &FleetOptions,
    image: &Image,
    manifest: &UnverifiedManifest,
    source: IpAddr,
) -> Result<Option<Server>, SendError> {
    let Some(address) = options.serve_repair else { return Ok(None) };
    let content = Content::new(image, &manifest.manifest().name, manifest.bytes())?;
    Ok(Some(Server::start(address, source, content)?))
}

/// What is announced: the server's own URL first.
pub fn announced_urls(options: &FleetOptions, server: Option<&Server>) -> Vec<String> {
    server.map(|server| server.url().to_owned()).into_iter().chain(options.repair_urls.iter().cloned()).collect()
}

/// Goes on serving until nothing was asked for as long as the options say, or `is_interrupted`.
pub fn linger(options: &FleetOptions, server: &Server, report: &Report, is_interrupted: impl Fn() -> bool) {
    let sent_at = Instant::now();
    report.serving(server.url(), options.linger);
    let is_quiet = || server.last_request_at().unwrap_or(sent_at).max(sent_at).elapsed() >= options.linger;
    while !is_quiet() && !is_interrupted() {
        thread::sleep(POLL);
    }
    let (bytes, ranges) = server.given();
    report.served(bytes, ranges);
}
