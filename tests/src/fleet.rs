//! The command lines with which senders and receivers start inside a lab.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::LabError;
use crate::binaries::Binaries;
use crate::lab::{INTERFACE, Lab, SENDER_V4, SENDER_V6};
use crate::process::Process;
use crate::release::{HARDWARE, PRODUCT, Release};

const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a session is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// The source that receivers ask for; none for any-source multicast.
    pub source: Option<IpAddr>,
    /// The group.
    pub group: IpAddr,
    /// The UDP port.
    pub port: u16,
}

impl Channel {
    /// The lab's source-specific IPv4 channel.
    pub const SSM_V4: Self =
        Self { source: Some(IpAddr::V4(SENDER_V4)), group: IpAddr::V4(Ipv4Addr::new(232, 1, 1, 1)), port: 5_000 };
    /// The lab's source-specific IPv6 channel: group id from 8000:0000 up, as RFC 4607 §1 has it.
    pub const SSM_V6: Self = Self {
        source: Some(IpAddr::V6(SENDER_V6)),
        group: IpAddr::V6(Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0x8000, 1)),
        port: 5_000,
    };
    /// The lab's any-source group.
    pub const ASM_V4: Self = Self { source: None, group: IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3)), port: 5_000 };
}

/// One receiver's files: they survive its process, as a router's flash does.
#[derive(Debug, Clone)]
pub struct Device {
    /// For `--state`.
    pub state: PathBuf,
    /// For `--out`.
    pub out: PathBuf,
}

impl Device {
    /// Makes the state folder of device `index` below `folder`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(folder: &Path, index: usize) -> Result<Self, LabError> {
        let state = folder.join(format!("r{index}.state"));
        std::fs::create_dir_all(&state).map_err(LabError::io(format!("make {}", state.display())))?;
        Ok(Self { state, out: folder.join(format!("r{index}.bin")) })
    }
}

/// A command line of one of the programs, to be run in a namespace of the lab.
#[derive(Debug)]
pub struct Invocation {
    name: String,
    command: Command,
}

impl Invocation {
    /// `fleetcast-send send` of a release to a channel.
    pub fn send(lab: &Lab, binaries: &Binaries, channel: &Channel, release: &Release) -> Self {
        let mut command = lab.sender().command(&binaries.send);
        command.arg("send").arg(&release.image).arg("--manifest").arg(&release.manifest);
        Self { name: "the sender".into(), command }
            .args(["--group", &channel.group.to_string(), "--port", &channel.port.to_string()])
            .args(["--interface", INTERFACE, "--json"])
    }

    /// `fleetcast-recv receive` at receiver `index` of a channel.
    pub fn receive(lab: &Lab, binaries: &Binaries, channel: &Channel, index: usize, device: &Device) -> Self {
        let mut invocation = Self::receive_bare(lab, binaries, index, device);
        if let Some(source) = channel.source {
            invocation = invocation.args(["--source", &source.to_string()]);
        }
        invocation.args(["--group", &channel.group.to_string(), "--port", &channel.port.to_string()])
    }

    /// The same without a channel, for a session description to follow.
    ///
    /// # Panics
    /// When the lab has no such receiver.
    pub fn receive_bare(lab: &Lab, binaries: &Binaries, index: usize, device: &Device) -> Self {
        let namespace = lab.receivers().get(index).expect("the caller made the lab with its receivers");
        let mut command = namespace.command(&binaries.recv);
        command.arg("receive").arg("--state").arg(&device.state).arg("--out").arg(&device.out);
        Self { name: format!("receiver {index}"), command }.args([
            "--product",
            PRODUCT,
            "--hardware",
            HARDWARE,
            "--interface",
            INTERFACE,
            "--json",
        ])
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self) -> Result<Process, LabError> {
        Process::spawn(self.name, self.command)
    }

    /// Starts a receiver and waits until its membership is in place.
    ///
    /// # Errors
    /// When it does not join within 10 s.
    pub fn join(self) -> Result<Process, LabError> {
        let mut process = self.spawn()?;
        await_joined(&mut process)?;
        Ok(process)
    }
}

/// Waits until a receiver's membership is in place.
///
/// # Errors
/// When it does not join within 10 s.
pub fn await_joined(receiver: &mut Process) -> Result<(), LabError> {
    receiver.wait_event("joined", JOIN_TIMEOUT).map(drop)
}
