//! `send`: image → precompute → pace → transmit.

mod error;
mod line;
mod options;
mod resident;
#[cfg(feature = "serve")]
mod serving;

pub use error::SendError;
#[cfg(feature = "serve")]
pub use options::FleetOptions;
pub use options::Options;
pub use resident::REPAIR_SETS;

use crate::control::ControlSocket;
use crate::feedback::FeedbackSocket;
use crate::image::{Image, ImageError};
use crate::interface::Interface;
use crate::report::Report;
use crate::transmit::Choice;
use fleetcast_protocol::channel::{Channel, ChannelError};
use fleetcast_protocol::manifest::{ImageMismatch, SignedManifest, UnverifiedManifest};
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::sender::{SenderConfig, SenderSession};
use line::Line;
use serde_json::json;
#[cfg(feature = "serve")]
use serving::Serving;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads the manifest at `path`, without trusting it: receivers do that.
pub fn read_manifest(path: &Path) -> Result<UnverifiedManifest, SendError> {
    let bytes = fs::read(path).map_err(|source| SendError::ReadManifest { path: path.to_owned(), source })?;
    SignedManifest::parse_unverified(&bytes).map_err(|source| SendError::Manifest { path: path.to_owned(), source })
}

/// Sends until the session is over or `stop` is set.
pub fn send(options: &Options, stop: &AtomicBool) -> Result<(), SendError> {
    check_channel(options)?;
    let manifest = read_manifest(&options.manifest)?;
    let image = Image::open(&options.image)?;
    check_length(&image, &manifest)?;
    let interface = Interface::by_name(&options.interface)?;
    let source = interface.source_for(options.group, options.source)?;
    let channel = Channel::new(Some(source), options.group, options.port)?;
    let tsi = options.profile.tsi(options.tsi.map_or_else(random_tsi, Ok)?);
    let mut session = SenderSession::new(&session_config(options, tsi), &manifest)?;
    let mut feedback = None;
    if let Some(config) = options.feedback {
        session = session.with_feedback(config)?;
        if options.is_sized_by_feedback {
            session = session.with_sized_repair();
        }
        feedback = Some(FeedbackSocket::open(source, config.port)?);
    }
    let (feedback, reports) = feedback.unzip();
    #[cfg(feature = "serve")]
    let serving = Serving::start(&options.fleet, &image, &manifest, source)?;
    #[cfg(feature = "serve")]
    let session = session.with_repair_urls(Serving::announced_urls(&options.fleet, serving.as_ref()))?;

    let symbol_size = manifest.manifest().partition.symbol_size();
    let packet_len = session.writer().packet_len(SymbolId { sbn: 0, esi: 0 });
    interface.check_mtu(options.group, packet_len, symbol_size)?;
    let line = Line::open(options, &interface, source, packet_len)?;
    let pace = Arc::clone(&line.pace);

    let planned = options.passes.map(|passes| session.schedule().len() * u64::from(passes));
    let mut report = Report::new(options.json, planned, options.rate_bps);
    let asked_to_stop = Arc::new(AtomicBool::new(false));
    let serve = |path| ControlSocket::serve(path, Arc::clone(&pace), planned, Arc::clone(&asked_to_stop));
    let _control = options.control.as_deref().map(serve).transpose()?;
    report_start(&mut report, options, &channel, tsi, &session, &line.choice, &manifest);

    let cost = line.cost;
    let flow = line.start(options, session, image, manifest, reports, &report)?;
    let is_interrupted = || stop.load(Ordering::Relaxed) || asked_to_stop.load(Ordering::Relaxed);
    let outcome = flow.run(|| {
        report.progress(&pace, &cost);
        report.feedback(feedback.as_ref());
        pace.stop.fetch_or(is_interrupted(), Ordering::Relaxed);
    })?;
    let interrupted = is_interrupted();
    let word = match (&outcome.result, interrupted) {
        (Err(_), _) => "failed",
        (Ok(()), true) => "interrupted",
        (Ok(()), false) => "sent",
    };
    report.feedback(feedback.as_ref());
    report.summary(word, &pace, &outcome, &cost);
    outcome.result?;
    if interrupted {
        return Err(SendError::Interrupted);
    }
    #[cfg(feature = "serve")]
    if let Some(serving) = serving {
        serving.linger(&options.fleet, &report, is_interrupted)?;
    }
    Ok(())
}

/// What can be told of the channel before the interface's addresses are known: a wrong command line is told first.
fn check_channel(options: &Options) -> Result<(), ChannelError> {
    match options.source {
        Some(source) => Channel::new(Some(source), options.group, options.port).map(drop),
        None => Channel::check_destination(options.group, options.port).map(drop),
    }
}

/// The cheap half of comparing image and manifest; the blocks' hashes are compared while sending, ahead of each block.
fn check_length(image: &Image, manifest: &UnverifiedManifest) -> Result<(), ImageError> {
    let (found, expected) = (image.bytes().len() as u64, manifest.manifest().partition.image_len());
    if found == expected { Ok(()) } else { Err(ImageMismatch::Length { found, expected }.into()) }
}

fn random_tsi() -> Result<u32, SendError> {
    getrandom::u32().map_err(|error| SendError::Random(error.to_string()))
}

fn session_config(options: &Options, tsi: u32) -> SenderConfig {
    SenderConfig {
        profile: options.profile,
        tsi,
        passes: options.passes,
        window_blocks: options.window_blocks,
        repair: options.repair,
        rate_bps: options.rate_bps,
        start_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    }
}

fn report_start(
    report: &mut Report,
    options: &Options,
    channel: &Channel,
    tsi: u32,
    session: &SenderSession,
    choice: &Choice,
    manifest: &UnverifiedManifest,
) {
    let content = manifest.manifest();
    let (repair_large, repair_small) = session.schedule().repair_symbols();
    let passes = options.passes.map_or("without end".to_owned(), |passes| format!("{passes} pass(es)"));
    let text = format!(
        "sending {} {} ({} bytes, {} blocks of {} symbols, {repair_large} repair symbols each) to {channel} on {}, \
         {passes} at {} Mbit/s\nbackend {} ({})",
        content.name,
        content.version,
        content.partition.image_len(),
        content.partition.blocks(),
        content.partition.largest_k(),
        options.interface,
        options.rate_bps as f64 / 1e6,
        choice.backend.describe(),
        choice.why,
    );
    let fields = json!({
        "backend": choice.backend.name(), "backend_detail": choice.backend.describe(), "backend_why": choice.why,
        "threads": options.threads, "source": channel.source, "group": channel.group,
        "port": channel.port, "interface": options.interface, "tsi": tsi, "profile": options.profile.to_string(),
        "rate_bps": options.rate_bps, "passes": options.passes, "name": content.name, "version": content.version,
        "sequence": content.sequence, "image_bytes": content.partition.image_len(), "blocks": content.partition.blocks(),
        "symbol_bytes": content.partition.symbol_size(), "repair_symbols": [repair_large, repair_small],
        "window_blocks": session.schedule().window_blocks(), "pass_packets": session.schedule().len(),
        "feedback_port": options.feedback.map(|feedback| feedback.port),
    });
    report.start(fields, &text);
    #[cfg(feature = "serve")]
    if options.fleet.is_sized {
        report.sized(options.fleet.sizing);
    }
}
