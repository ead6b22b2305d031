//! `fleetcast-recv`: arguments in, exit code out.

use clap::Parser;
use fleetcast_cli::exit::{self, Failure};
use fleetcast_cli::stop;
use fleetcast_receiver::args::{Cli, Command, FilterCommand, ReceiveArgs};
use fleetcast_receiver::filter;
use fleetcast_receiver::receive::receive;
use std::process::ExitCode;

fn main() -> ExitCode {
    exit::finish(match Cli::parse().command {
        Command::Receive(args) => run_receive(*args),
        Command::Filter(FilterCommand::Status { json }) => {
            filter::status::print(json).map_err(|error| Failure::new(exit::ENVIRONMENT, error))
        }
    })
}

fn run_receive(args: ReceiveArgs) -> Result<(), Failure> {
    let options = args.into_options().map_err(|error| Failure::new(exit::USAGE, error))?;
    let stop = stop::on_signals()?;
    receive(&options, &stop).map_err(|error| Failure::new(error.exit_code(), error))
}
