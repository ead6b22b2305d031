//! Reports in, files out.

use super::*;
use fleetcast_protocol::fleet::DeviceState;
use fleetcast_protocol::simulation::{Release, release_key};
use std::net::Ipv4Addr;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn report(release: &Release, device: &str, counter: u64, state: DeviceState, loss_ppm: Option<u32>) -> Vec<u8> {
    let (device, manifest_digest) = (device.parse().unwrap(), release.manifest.digest());
    DeviceReport { device, manifest_digest, counter, state, loss_ppm, fetched_bytes: 5 }.to_cbor()
}

#[test]
fn what_devices_say_gets_into_both_files_and_sizes_the_next_repair() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let release = Release::seal(vec![7; 1000], 64, 1, 1, &release_key());
    let expected = ["a", "b", "c"].map(|id| id.parse().unwrap()).to_vec();
    let watch = Arc::new(Watch::new(release.manifest.digest(), expected, Duration::ZERO));
    assert_eq!(Sizing::from_report(&path).unwrap(), None);
    let writer = Writer::start(path.clone(), &release.manifest, Arc::clone(&watch)).unwrap();
    let read = || serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(read()["counts"]["silent"], 3);
    assert_eq!(Sizing::from_report(&path).unwrap(), None, "no device told its loss");
    let failed = DeviceState::Failed { reason: "=cmd, \"quoted\"".into() };
    assert!(watch.take(FROM, &report(&release, "a", 1, DeviceState::Committed, Some(20_000))));
    assert!(watch.take(FROM, &report(&release, "b", 1, failed, None)));
    assert!(watch.take(FROM, &report(&release, "x", 1, DeviceState::Committed, None)));
    assert!(!watch.take(FROM, b"junk"));
    writer.finish().unwrap();
    let json = read();
    assert_eq!((&json["devices_total"], &json["devices_done"]), (&3.into(), &1.into()));
    assert_eq!(
        (&json["counts"]["committed"], &json["counts"]["failed"], &json["counts"]["silent"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(json["ignored_reports"]["stranger"], 1);
    assert_eq!(json["devices"][0]["loss"], 0.02);
    let csv = fs::read_to_string(path.with_extension("csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[1].starts_with("a,committed,0.02,5,") && lines[1].ends_with(",127.0.0.1,\"\""), "{csv}");
    assert!(lines[2].ends_with(",\"'=cmd, \"\"quoted\"\"\""), "{csv}");
    assert_eq!(lines[3], "c,silent,,,,,\"\"");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
    assert_eq!(Sizing::from_report(&path).unwrap(), Some(Sizing { loss_ppm: 20_000, permyriad: 355 }));
    assert!(!watch.is_settled() && !watch.tally().reaches(5_000));
    fs::write(&path, "{}").unwrap();
    assert!(Sizing::from_report(&path).unwrap_err().to_string().contains("is no report of a send"));
}

#[test]
fn a_report_that_cannot_be_written_is_found_at_the_start() {
    let release = Release::seal(vec![7; 1000], 64, 1, 1, &release_key());
    let watch = Arc::new(Watch::new(release.manifest.digest(), Vec::new(), Duration::ZERO));
    let error = Writer::start("/nonexistent/report.json".into(), &release.manifest, watch).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/report.json"), "{error}");
}

#[test]
fn lists_of_devices_have_comments_and_errors_have_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("devices");
    fs::write(&path, "a\n\n  b  # the one in the cellar\n# none\nc\n").unwrap();
    let devices: Vec<String> = read_devices(&path).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(devices, ["a", "b", "c"]);
    for (content, message) in [("a\nb c\n", "line 2: 'b c' is no device id"), ("# none\n", "names no device")] {
        fs::write(&path, content).unwrap();
        let error = read_devices(&path).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert!(matches!(read_devices(Path::new("/nonexistent")), Err(DevicesError::Read { .. })));
}
