//! Packets as another implementation reads them: captured by dumpcap, dissected by tshark.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::LabError;
use crate::command::run;
use crate::link::Link;
use crate::scratch::Scratch;

const BUFFER_MIB: &str = "64";
/// What lies in the kernel's ring when dumpcap is stopped is lost.
const RING_DELAY: Duration = Duration::from_secs(1);

/// A running capture. Stopped on drop.
#[derive(Debug)]
pub struct Capture {
    dumpcap: Child,
    file: PathBuf,
    port: u16,
}

impl Capture {
    /// Captures the UDP datagrams to or from `port` that pass a link, from now on.
    ///
    /// # Errors
    /// When dumpcap is not installed or cannot capture.
    pub fn start(link: Link<'_>, port: u16, scratch: &Scratch) -> Result<Self, LabError> {
        let file = scratch.join("capture.pcapng");
        let mut command = link.namespace().command("dumpcap");
        command
            .args([
                "-q",
                "-i",
                link.name(),
                "-B",
                BUFFER_MIB,
                "-f",
                &format!("udp port {port} or (vlan and udp port {port})"),
                "-w",
            ])
            .arg(&file);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut dumpcap = command.spawn().map_err(LabError::io("start dumpcap (scripts/setup test installs it)"))?;
        let messages = dumpcap.stderr.take();
        let capture = Self { dumpcap, file, port };
        // It names its file when it captures.
        let lines = messages.into_iter().flat_map(|messages| BufReader::new(messages).lines().map_while(Result::ok));
        let mut said = String::new();
        for line in lines {
            if line.starts_with("File:") {
                return Ok(capture);
            }
            said += &line;
        }
        Err(LabError::Command { command: "dumpcap".into(), stderr: said })
    }

    /// Ends the capture and has tshark read it as ALC: for each packet the first value of each field, empty when it has
    /// none. Checksums are not looked at: those of a sender's own link are for its device to complete.
    ///
    /// # Errors
    /// When tshark fails.
    pub fn dissect(self, fields: &[&str]) -> Result<Vec<Vec<String>>, LabError> {
        self.read(fields, &[])
    }

    /// The same, with checksums of IP and UDP verified: for packets whose sender has completed them.
    ///
    /// # Errors
    /// When tshark fails.
    pub fn dissect_verifying(self, fields: &[&str]) -> Result<Vec<Vec<String>>, LabError> {
        self.read(fields, &["ip.check_checksum:TRUE", "udp.check_checksum:TRUE"])
    }

    fn read(mut self, fields: &[&str], preferences: &[&str]) -> Result<Vec<Vec<String>>, LabError> {
        self.stop();
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&self.file).args(["-d", &format!("udp.port=={},alc", self.port)]);
        for preference in preferences {
            tshark.args(["-o", preference]);
        }
        tshark.args(["-T", "fields", "-E", "occurrence=f"]);
        for field in fields {
            tshark.args(["-e", field]);
        }
        let table = run(&mut tshark)?;
        Ok(table.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// By SIGINT, so that the file is written to its end.
    fn stop(&mut self) {
        thread::sleep(RING_DELAY);
        if let Some(pid) = i32::try_from(self.dumpcap.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.dumpcap.wait();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.dumpcap.kill();
        let _ = self.dumpcap.wait();
    }
}
