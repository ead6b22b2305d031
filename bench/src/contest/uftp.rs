//! UFTP (Debian package `uftp`), the multicast file transfer that is nearest to fleetcast in use.
//!
//! It is given its best: blocks that fill the MTU, the largest socket buffers that the kernel grants an ordinary socket,
//! and its announcement and registration (some 2 s) do not count.

use super::child::Logged;
use super::{Contest, Transfer};
use anyhow::{Context, bail, ensure};
use fleetcast_tests::image;
use fleetcast_tests::lab::INTERFACE;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

/// Where it announces, by default.
const PUBLIC_GROUP: &str = "230.4.4.1";
/// Where it sends the data: of the range that it would pick from at random.
const PRIVATE_GROUP: &str = "230.5.5.1";
/// Bytes of a data block: the packet is then 1,452 bytes long, and the next round number would not fit the MTU.
const BLOCK_BYTES: u64 = 1_400;
/// Bytes of an IP packet beside the block: UFTP's headers, UDP and IPv4.
const IP_HEADERS: u64 = 52;
/// Bytes on the wire beside an IP packet: Ethernet header, FCS, preamble and gap.
const ETHERNET_OVERHEAD: u64 = 38;
/// What it asks for as socket buffers; net.core.rmem_max caps it.
const SOCKET_BUFFER_BYTES: &str = "104857600";
/// Time for a daemon to start, or to end.
const AFTERMATH: Duration = Duration::from_secs(20);

/// UFTP as it is installed.
pub struct Uftp {
    server: PathBuf,
    client: PathBuf,
}

impl Uftp {
    /// Its name in rows.
    pub const NAME: &'static str = "uftp";

    /// Finds the programs.
    pub fn find() -> anyhow::Result<Self> {
        let (Some(server), Some(client)) = (find_program("uftp"), find_program("uftpd")) else {
            bail!("UFTP is not installed, and this bench runs beside it: install the Debian package uftp");
        };
        Ok(Self { server, client })
    }

    /// Has it send the image at `rate_bps` (bits of the wire), or as fast as it can.
    pub fn transfer(&self, contest: &Contest, rate_bps: Option<u64>) -> anyhow::Result<Transfer> {
        let (lab, release) = (&contest.fleet.lab, &contest.release);
        let received = Folders::new(contest.fleet.scratch.path())?;
        let mut client = self.start_client(contest, &received)?;
        let patience = contest.patience(rate_bps);
        let wire_before = lab.wire().counters()?.tx_bytes;
        let mut command = lab.sender().command(&self.server);
        command.args(["-R", &rate_option(rate_bps), "-b", &BLOCK_BYTES.to_string(), "-B", SOCKET_BUFFER_BYTES]);
        command.args(["-I", INTERFACE, "-t", "4", "-M", PUBLIC_GROUP, "-P", PRIVATE_GROUP]).arg(&release.image);
        let mut server = Logged::spawn("uftp", command)?;
        let start = server.wait_line("Sending file", AFTERMATH)?;
        let end = client.wait_line("File transfer complete", patience)?;
        let sent = server.finish(patience)?;
        ensure!(sent.status.success(), "uftp failed ({}): {}", sent.status, sent.lines.join("\n"));
        let wire_bytes = lab.wire().counters()?.tx_bytes - wire_before;
        // The daemon would wait for the next session.
        client.terminate();
        let receiver_cpu_s = client.finish(AFTERMATH)?.cpu_s;
        let file = received.destination.join(release.image.file_name().context("the image has a name")?);
        let verified = image::sha256(&file).is_ok_and(|sha256| sha256 == release.sha256);
        Ok(Transfer {
            took: Some(end.saturating_duration_since(start)),
            image_bytes: release.file_bytes,
            rate_bps,
            repair: None,
            sent_bps: None,
            wire_bytes,
            sender_cpu_s: sent.cpu_s,
            receiver_cpu_s,
            lost: sent.lines.iter().filter_map(|line| naks_of(line)).sum(),
            verified,
        })
    }

    /// Starts the daemon in the receiver's namespace and waits for its membership.
    fn start_client(&self, contest: &Contest, received: &Folders) -> anyhow::Result<Logged> {
        let lab = &contest.fleet.lab;
        let namespace = lab.receivers().first().context("the lab has a receiver")?;
        let mut command = namespace.command(&self.client);
        // In the foreground, and without asking the DNS for names.
        command.args(["-d", "-q", "-I", INTERFACE, "-B", SOCKET_BUFFER_BYTES, "-M", PUBLIC_GROUP]);
        command.arg("-D").arg(&received.destination).arg("-T").arg(&received.temporary);
        let client = Logged::spawn("uftpd", command)?;
        let group: IpAddr = PUBLIC_GROUP.parse().context("the group is an address")?;
        lab.await_all_joined(group).context("uftpd does not join its group")?;
        Ok(client)
    }
}

/// The daemon's folders, removed on drop.
struct Folders {
    temporary: PathBuf,
    destination: PathBuf,
}

impl Folders {
    fn new(parent: &Path) -> anyhow::Result<Self> {
        let folders = Self { temporary: parent.join("uftp-tmp"), destination: parent.join("uftp") };
        for folder in [&folders.temporary, &folders.destination] {
            fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(folders)
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.temporary, &self.destination] {
            // What remains goes with the scratch folder.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The value of `-R`: 1,024 bits of IP packets a second, or -1 for no limit.
fn rate_option(rate_bps: Option<u64>) -> String {
    let Some(rate_bps) = rate_bps else { return "-1".to_owned() };
    let ip_bytes = BLOCK_BYTES + IP_HEADERS;
    (rate_bps * ip_bytes / (ip_bytes + ETHERNET_OVERHEAD) / 1_024).max(1).to_string()
}

/// The number in a line such as `Got 706 NAKs for section 0 from client 0x0A4D0101`.
fn naks_of(line: &str) -> Option<u64> {
    line.split_once("Got ")?.1.split_once(" NAKs")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_wire() {
        assert_eq!(rate_option(None), "-1");
        assert_eq!(rate_option(Some(100_000_000)), "95165");
        assert_eq!(rate_option(Some(1)), "1");
    }

    #[test]
    fn counts_naks() {
        assert_eq!(naks_of("Got 706 NAKs for section 0 from client 0x0A4D0101"), Some(706));
        assert_eq!(naks_of("Got COMPLETE from client 0x0A4D0101"), None);
    }
}
