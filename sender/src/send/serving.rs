//! The repair server of a send, and the reports that it takes: started before the first packet, and left running after the last.

use super::{FleetOptions, SendError};
use crate::fleet_report::{Watch, Writer};
use crate::image::Image;
use crate::report::Report;
use crate::serve::{Content, Server};
use fleetcast_protocol::fleet::DeviceId;
use fleetcast_protocol::manifest::UnverifiedManifest;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether to end.
const POLL: Duration = Duration::from_millis(50);

/// What runs beside a send.
pub struct Serving {
    server: Server,
    watch: Option<Arc<Watch>>,
    writer: Option<Writer>,
}

impl Serving {
    /// Starts what the options ask for.
    pub fn start(
        options: &FleetOptions,
        image: &Image,
        manifest: &UnverifiedManifest,
        source: IpAddr,
    ) -> Result<Option<Self>, SendError> {
        let Some(address) = options.serve_repair else { return Ok(None) };
        let watch = options.report.as_ref().map(|_| Arc::new(watch(options, manifest)));
        let content = Content::new(image, &manifest.manifest().name, manifest.bytes(), watch.clone())?;
        let server = Server::start(address, source, content)?;
        let writer = match (&options.report, &watch) {
            (Some(path), Some(watch)) => Some(Writer::start(path.clone(), manifest, Arc::clone(watch))?),
            _ => None,
        };
        Ok(Some(Self { server, watch, writer }))
    }

    /// What is announced: the server's own URL first.
    pub fn announced_urls(options: &FleetOptions, serving: Option<&Self>) -> Vec<String> {
        let own = serving.map(|serving| serving.server.url().to_owned());
        own.into_iter().chain(options.repair_urls.iter().cloned()).collect()
    }

    /// Goes on until nothing was asked or reported for as long as the options say, every listed device has said how it ended, or
    /// `is_interrupted`; then says how the fleet stands.
    ///
    /// # Errors
    /// When the report cannot be written, or fewer devices hold the image than the options demand.
    pub fn linger(
        mut self,
        options: &FleetOptions,
        report: &Report,
        is_interrupted: impl Fn() -> bool,
    ) -> Result<(), SendError> {
        let sent_at = Instant::now();
        report.serving(self.server.url(), options.linger);
        let is_quiet = || self.server.last_request_at().unwrap_or(sent_at).max(sent_at).elapsed() >= options.linger;
        let is_settled = || self.watch.as_ref().is_some_and(|watch| watch.is_settled());
        while !is_quiet() && !is_settled() && !is_interrupted() {
            thread::sleep(POLL);
        }
        let (bytes, ranges) = self.server.given();
        report.served(bytes, ranges);
        if let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        let Some(tally) = self.watch.as_ref().map(|watch| watch.tally()) else { return Ok(()) };
        report.fleet(&tally);
        match options.require_permyriad {
            Some(require_permyriad) if !tally.reaches(require_permyriad) => {
                Err(SendError::Required { done: tally.done(), total: tally.total(), require_permyriad })
            }
            _ => Ok(()),
        }
    }
}

/// Watches the devices that are listed and report.
fn watch(options: &FleetOptions, manifest: &UnverifiedManifest) -> Watch {
    let digest = manifest.digest();
    let reports = |device: &&DeviceId| device.is_sampled(&digest, options.sample_permyriad);
    Watch::new(digest, options.devices.iter().filter(reports).cloned().collect(), options.linger)
}
