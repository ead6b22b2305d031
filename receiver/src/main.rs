//! `fleetcast-recv`: arguments in, exit code out.

use clap::Parser;
use fleetcast_protocol::exit;
use fleetcast_receiver::args::{Cli, Command, ReceiveArgs};
use fleetcast_receiver::receive::receive;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An exit code and the message that goes with it.
struct Failure(u8, anyhow::Error);

fn main() -> ExitCode {
    let Command::Receive(args) = Cli::parse().command;
    match run_receive(args) {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(Failure(code, error)) => {
            eprintln!("error: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn run_receive(args: ReceiveArgs) -> Result<(), Failure> {
    let options = args.into_options().map_err(|error| Failure(exit::USAGE, error))?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure(exit::UNEXPECTED, error.into()))?;
    }
    receive(&options, &stop).map_err(|error| Failure(error.exit_code(), error.into()))
}
