//! A small fleet in the lab, by the command line that an operator would type.

use fleetcast_tests::skip_without_lab;
use serde_json::Value;
use std::process::Command;

#[test]
fn every_living_router_is_served_and_processes_come_to_what_their_twins_do() {
    skip_without_lab!();
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_fleetcast-bench"));
    bench.args([
        "fleet",
        "--json",
        "--receivers",
        "50",
        "--real",
        "2",
        "--size",
        "3M",
        "--rate",
        "40M",
        "--burst",
        "10",
    ]);
    let output = bench.args(["--dead", "4%", "--out"]).arg(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |field: &str| summary[field].as_u64().unwrap();
    assert_eq!((number("receivers"), number("real_receivers")), (50, 2), "{summary}");
    assert_eq!(number("verified") + number("dead"), 50, "{summary}");
    assert_eq!((&summary["kept_up"], &summary["real_equal_emulated"]), (&true.into(), &true.into()), "{summary}");
    let result: Value = serde_json::from_slice(&std::fs::read(folder.path().join("fleet.json")).unwrap()).unwrap();
    assert_eq!(result["routers"].as_array().unwrap().len(), 50);
    let twins = result["twins"].as_array().unwrap();
    assert!(twins.iter().all(|twin| twin["real"]["dropped"] == twin["emulated"]["dropped"]), "{twins:?}");
    assert!(twins.iter().any(|twin| twin["real"]["dropped"].as_u64().unwrap() > 0), "{twins:?}");
    assert!(result["proof"]["sampled"].as_u64().unwrap() >= 40, "{}", result["proof"]);
}
