//! `fleetcast-send`: arguments in, exit code out.

use clap::Parser;
use fleetcast_cli::exit::{self, Failure};
use fleetcast_cli::stop;
use fleetcast_sender::args::{Cli, Command, ControlArgs, InspectArgs, SdpArgs, SealArgs, SendArgs};
use fleetcast_sender::control::{self, ControlError};
use fleetcast_sender::{inspect, keygen, seal, send};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    exit::finish(match Cli::parse().command {
        Command::Keygen(args) => keygen::keygen(&args.out).map_err(|error| Failure::new(exit::ENVIRONMENT, error)),
        Command::Seal(args) => run_seal(args),
        Command::Inspect(args) => run_inspect(&args),
        Command::Send(args) => run_send(*args),
        Command::Control(args) => run_control(&args),
        Command::Sdp(args) => run_sdp(args),
    })
}

fn run_seal(args: SealArgs) -> Result<(), Failure> {
    let out = seal::seal(&args.into_options()).map_err(|error| Failure::new(error.exit_code(), error))?;
    eprintln!("wrote {}", out.display());
    Ok(())
}

fn run_inspect(args: &InspectArgs) -> Result<(), Failure> {
    let trust = args.trust_store().map_err(|error| Failure::new(exit::USAGE, error))?;
    inspect::inspect(&args.manifest, trust.as_ref(), &args.extracts(), args.json)
        .map_err(|error| Failure::new(error.exit_code(), error))
}

fn run_send(args: SendArgs) -> Result<(), Failure> {
    let options = args.into_options().map_err(|error| Failure::new(exit::USAGE, anyhow::anyhow!(error)))?;
    let stop = stop::on_signals()?;
    send::send(&options, &stop).map_err(|error| Failure::new(error.exit_code(), error))
}

fn run_control(args: &ControlArgs) -> Result<(), Failure> {
    let answer = control::ask(&args.socket, &args.command.join(" ")).map_err(|error| {
        let code = if matches!(error, ControlError::Refused(_)) { exit::USAGE } else { exit::ENVIRONMENT };
        Failure::new(code, error)
    })?;
    println!("{answer}");
    Ok(())
}

fn run_sdp(args: SdpArgs) -> Result<(), Failure> {
    let session_id = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let description = args.into_description(session_id).map_err(|error| Failure::new(exit::USAGE, error))?;
    print!("{}", description.to_sdp());
    Ok(())
}
