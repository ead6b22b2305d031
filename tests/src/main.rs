//! `fleetcast-lab`: runs fleetcast's programs in a lab of network namespaces, without a network.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::demo::{self, DemoConfig, ImageSource};
use fleetcast_tests::{LabError, interrupt, root};

/// A receiver's image is missing or differs.
const EXIT_DIFFERS: u8 = 6;
const EXIT_ENVIRONMENT: u8 = 3;
const EXIT_INTERRUPTED: u8 = 130;
const EXIT_OTHER: u8 = 1;

/// Runs fleetcast in a lab of network namespaces on this machine. Needs root; nothing outside the namespaces is changed.
#[derive(Parser)]
#[command(name = "fleetcast-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send a real image to receivers that each lose some packets, and show what each of them got.
    Demo(DemoArgs),
}

#[derive(clap::Args)]
struct DemoArgs {
    /// Print one JSON object for each receiver and one for the sender, not a table.
    #[arg(long)]
    json: bool,
    /// How many receivers.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    receivers: u16,
    /// The sender's rate in bits of the wire a second.
    #[arg(long, default_value = "100M")]
    rate: String,
    /// The first receiver's loss in percent.
    #[arg(long, default_value = "1", value_parser = percent_to_ppm)]
    loss_min: u32,
    /// The last receiver's loss in percent; those between are spread evenly.
    #[arg(long, default_value = "2", value_parser = percent_to_ppm)]
    loss_max: u32,
    /// Repair symbols, in percent of the source symbols.
    #[arg(long, default_value = "5%")]
    repair: String,
    /// The image to send [default: kernel and initrd of Debian's installer].
    #[arg(long)]
    image: Option<PathBuf>,
    /// Decides which packets are lost: the same seed, the same losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder of fleetcast-send and fleetcast-recv [default: that of this program].
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// Further options of `fleetcast-send send`, after --.
    #[arg(last = true, value_name = "SEND OPTIONS")]
    send_args: Vec<String>,
}

fn main() -> ExitCode {
    let Command::Demo(args) = Cli::parse().command;
    match demo(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_DIFFERS),
        Err(error) => {
            // Ctrl-C reaches the tools that the lab runs as well: whatever failed then, it failed because of that.
            let error = interrupt::check().err().unwrap_or(error);
            eprintln!("fleetcast-lab: {error}");
            ExitCode::from(match error {
                LabError::Interrupted => EXIT_INTERRUPTED,
                LabError::Unfit(_) | LabError::Io { .. } | LabError::Command { .. } | LabError::LossProgram { .. } => {
                    EXIT_ENVIRONMENT
                }
                LabError::Output { .. } | LabError::Ended { .. } | LabError::Timeout { .. } => EXIT_OTHER,
            })
        }
    }
}

/// Runs the demo and prints its report. True when every receiver holds the image.
fn demo(args: DemoArgs) -> Result<bool, LabError> {
    interrupt::watch().map_err(LabError::io("watch for signals"))?;
    root::check()?;
    let binaries = match &args.bin_dir {
        Some(folder) => Binaries::in_folder(folder)?,
        None => Binaries::beside_this_program()?,
    };
    let config = DemoConfig {
        receivers: usize::from(args.receivers),
        rate: args.rate,
        repair: args.repair,
        loss_ppm: args.loss_min..=args.loss_max,
        seed: args.seed,
        image: args.image.map_or(ImageSource::DebianInstaller, ImageSource::File),
        send_args: args.send_args,
        ..DemoConfig::new(binaries)
    };
    let report = demo::run(&config, |stage| eprintln!("{stage}"))?;
    if args.json {
        report.json_lines()?.iter().for_each(|line| println!("{line}"));
    } else {
        println!("\n{report}");
    }
    Ok(report.all_verified())
}

fn percent_to_ppm(text: &str) -> Result<u32, String> {
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| "not a number".to_owned())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err("not between 0 and 100".into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a million")]
    let ppm = (percent * 10_000.0).round() as u32;
    Ok(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        assert_eq!(percent_to_ppm("1.5%"), Ok(15_000));
        assert_eq!(percent_to_ppm("100"), Ok(1_000_000));
        assert!(percent_to_ppm("101").is_err() && percent_to_ppm("NaN").is_err() && percent_to_ppm("x").is_err());
    }
}
