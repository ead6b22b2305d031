//! `fleetcast-send`: arguments in, exit code out.

use clap::Parser;
use fleetcast_protocol::exit;
use fleetcast_sender::args::{Cli, Command, InspectArgs, SdpArgs, SealArgs, SendArgs};
use fleetcast_sender::image::ImageError;
use fleetcast_sender::{inspect, keygen, seal, send};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

/// An exit code and the message that goes with it.
struct Failure(u8, anyhow::Error);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Keygen(args) => keygen::keygen(&args.out).map_err(|error| Failure(exit::ENVIRONMENT, error)),
        Command::Seal(args) => run_seal(args),
        Command::Inspect(args) => run_inspect(&args),
        Command::Send(args) => run_send(args),
        Command::Sdp(args) => run_sdp(args),
    };
    match result {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(Failure(code, error)) => {
            eprintln!("error: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn run_seal(args: SealArgs) -> Result<(), Failure> {
    let code = |error: &anyhow::Error| match error.downcast_ref::<ImageError>() {
        Some(ImageError::Mismatch(_) | ImageError::Changed(_)) => exit::VERIFICATION,
        Some(_) => exit::ENVIRONMENT,
        None if error.downcast_ref::<std::io::Error>().is_some() => exit::ENVIRONMENT,
        None => exit::USAGE,
    };
    let out = seal::seal(&args.into_options()).map_err(|error| Failure(code(&error), error))?;
    eprintln!("wrote {}", out.display());
    Ok(())
}

fn run_inspect(args: &InspectArgs) -> Result<(), Failure> {
    let trust = args.trust_store().map_err(|error| Failure(exit::ENVIRONMENT, error))?;
    inspect::inspect(&args.manifest, trust.as_ref(), args.json)
        .map_err(|error| Failure(error.exit_code(), error.into()))
}

fn run_send(args: SendArgs) -> Result<(), Failure> {
    let options = args.into_options().map_err(|error| Failure(exit::USAGE, anyhow::anyhow!(error)))?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure(exit::UNEXPECTED, error.into()))?;
    }
    send::send(&options, &stop).map_err(|error| Failure(error.exit_code(), error.into()))
}

fn run_sdp(args: SdpArgs) -> Result<(), Failure> {
    let session_id = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let description = args.into_description(session_id).map_err(|error| Failure(exit::USAGE, error))?;
    print!("{}", description.to_sdp());
    Ok(())
}
