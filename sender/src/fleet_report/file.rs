//! The report file: JSON for programs, and the devices as CSV beside it.

use fleetcast_protocol::fleet::{Fleet, Ignored, Tally};
use fleetcast_protocol::hex;
use fleetcast_protocol::manifest::UnverifiedManifest;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// The report cannot be written.
#[derive(Debug, Error)]
#[error("cannot write the report {path}: {source}; free some space, or give another file with --report")]
pub struct FileError {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// What a report is about.
#[derive(Debug, Clone, Serialize)]
pub struct Release {
    manifest: String,
    name: String,
    version: String,
    sequence: u64,
}

impl Release {
    /// The release of a manifest.
    pub fn of(manifest: &UnverifiedManifest) -> Self {
        let content = manifest.manifest();
        Self {
            manifest: hex::encode(&manifest.digest()),
            name: content.name.clone(),
            version: content.version.clone(),
            sequence: content.sequence,
        }
    }
}

/// One device.
#[derive(Debug, Serialize)]
struct Device {
    device: String,
    state: &'static str,
    reason: Option<String>,
    loss: Option<f64>,
    fetched_bytes: Option<u64>,
    /// Seconds since the send began.
    heard_s: Option<f64>,
    address: Option<String>,
}

/// The loss that so many percent of the reporting devices do not exceed, in parts per million.
#[derive(Debug, Serialize)]
struct LossPpm {
    p50: Option<u32>,
    p95: Option<u32>,
    max: Option<u32>,
}

/// All that is known at a moment.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    release: Release,
    written_unix_s: u64,
    devices_total: u64,
    devices_done: u64,
    counts: BTreeMap<&'static str, u64>,
    loss_ppm: LossPpm,
    ignored_reports: BTreeMap<&'static str, u64>,
    devices: Vec<Device>,
}

impl Snapshot {
    /// What is known of `fleet` at `now`, since the send began.
    pub fn of(release: &Release, fleet: &Fleet, now: Duration, silent_after: Duration) -> Self {
        let tally: Tally = fleet.tally(now, silent_after);
        let devices = fleet.stands(now, silent_after).map(|(device, stand, heard)| Device {
            device: device.to_string(),
            state: stand.name(),
            reason: heard.and_then(|heard| heard.report.state.reason()).map(str::to_owned),
            loss: heard.and_then(|heard| heard.report.loss_ppm).map(|ppm| f64::from(ppm) / 1e6),
            fetched_bytes: heard.map(|heard| heard.report.fetched_bytes),
            heard_s: heard.map(|heard| (heard.at.as_secs_f64() * 1e3).round() / 1e3),
            address: heard.map(|heard| heard.from.to_string()),
        });
        let ignored = [
            ("other_release", Ignored::OtherRelease),
            ("stale", Ignored::Stale),
            ("stranger", Ignored::Stranger),
            ("too_many", Ignored::TooMany),
        ];
        Self {
            release: release.clone(),
            written_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            devices_total: tally.total(),
            devices_done: tally.done(),
            counts: tally.counts().into(),
            loss_ppm: LossPpm { p50: tally.loss_ppm(50), p95: tally.loss_ppm(95), max: tally.loss_ppm(100) },
            ignored_reports: ignored.map(|(name, reason)| (name, fleet.ignored(reason))).into(),
            devices: devices.collect(),
        }
    }

    fn json(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// One line a device. Ids, states and numbers need no quotes; what a device says of its failure does.
    fn csv(&self) -> String {
        let mut text = String::from("device,state,loss,fetched_bytes,heard_s,address,reason\n");
        for device in &self.devices {
            let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
            let reason = device.reason.as_deref().unwrap_or_default();
            // A spreadsheet takes a field that begins with one of these for a formula.
            let guard = if reason.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{},{},{},{},{},{},\"{guard}{}\"",
                device.device,
                device.state,
                number(device.loss),
                device.fetched_bytes.map_or(String::new(), |bytes| bytes.to_string()),
                number(device.heard_s),
                device.address.as_deref().unwrap_or_default(),
                reason.replace('"', "\"\"")
            );
        }
        text
    }
}

/// Writes `snapshot` to `path` and, with the extension csv, beside it; each file holds the old content or the new.
pub fn write(path: &Path, snapshot: &Snapshot) -> Result<(), FileError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FileError { path, source }
    };
    let json = snapshot.json().map_err(|error| failed(path)(error.into()))?;
    replace(path, &json).map_err(failed(path))?;
    let csv = csv_path(path);
    replace(&csv, snapshot.csv().as_bytes()).map_err(failed(&csv))
}

/// Where the CSV of the report at `path` lies.
pub fn csv_path(path: &Path) -> PathBuf {
    path.with_extension("csv")
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
