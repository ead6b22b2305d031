//! `fleetcast-recv`: arguments in, exit code out.

use clap::Parser;
use fleetcast_cli::exit::{self, Failure};
use fleetcast_cli::stop;
use fleetcast_receiver::args::{Cli, Command, ReceiveArgs};
use fleetcast_receiver::receive::receive;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Command::Receive(args) = Cli::parse().command;
    exit::finish(run_receive(args))
}

fn run_receive(args: ReceiveArgs) -> Result<(), Failure> {
    let options = args.into_options().map_err(|error| Failure::new(exit::USAGE, error))?;
    let stop = stop::on_signals()?;
    receive(&options, &stop).map_err(|error| Failure::new(error.exit_code(), error))
}
