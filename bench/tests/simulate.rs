//! `simulate` as it is run: its JSON, its memory, and what it refuses.

use serde_json::Value;
use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleetcast-bench")).arg("simulate").args(arguments).output().unwrap()
}

#[test]
fn a_receiver_takes_less_than_six_kilobytes() {
    let output = simulate(&["--receivers", "20000", "--loss", "1%", "--seed", "3", "--json"]);
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((row["bench"].as_str(), row["verified"].as_u64()), (Some("simulate"), Some(20_000)), "{row}");
    let ratio = row["wire_ratio"].as_f64().unwrap();
    assert!((1.046..1.075).contains(&ratio), "{row}");
    assert!(row["feedback_bytes"].as_u64().unwrap() < 53_000, "{row}");
    assert!(row["bytes_per_receiver"].as_u64().unwrap() < 6_000, "{row}");
    for field in ["receivers", "last_complete_s", "wall_s"] {
        assert!(row[field].as_f64().unwrap() > 0.0, "{field} of {row}");
    }
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    for (arguments, word) in [
        (&["--receivers", "0"][..], "receivers"),
        (&["--loss", "101%"], "share"),
        (&["--loss", "100%", "--burst"], "bursts"),
        (&["--size", "0"], "bytes"),
        (&["--size", "900000G"], ""),
        (&["--window", "0"], "window"),
        (&["--rtt", "0s"], "time"),
    ] {
        let output = simulate(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(word) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
}
