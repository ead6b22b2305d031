//! A sender and its receivers inside a lab, by the command lines that an operator would type.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::binaries::Binaries;
use crate::command::run;
use crate::lab::{INTERFACE, Lab, LabConfig, SENDER_V4, SENDER_V6};
use crate::mount::Mount;
use crate::process::Process;
use crate::release::{HARDWARE, KeyPair, PRODUCT, Release};
use crate::scratch::Scratch;
use crate::{LabError, image};

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

    /// The options that name it to a receiver, or to the `sdp` command.
    pub fn options(&self) -> Vec<String> {
        let source = self.source.map(|source| ["--source".to_owned(), source.to_string()]);
        let rest = ["--group".to_owned(), self.group.to_string(), "--port".to_owned(), self.port.to_string()];
        source.into_iter().flatten().chain(rest).collect()
    }
}

/// A lab with the programs, a channel, a release key, and a folder for everybody's files.
#[derive(Debug)]
pub struct Fleet {
    /// The network.
    pub lab: Lab,
    /// The programs.
    pub binaries: Binaries,
    /// Where the sender sends and the receivers listen.
    pub channel: Channel,
    /// The key that signs releases, and that receivers trust.
    pub key: KeyPair,
    /// The product that the receivers give for theirs.
    pub product: String,
    /// The hardware id that the receivers give for theirs.
    pub hardware: String,
    /// Removed with the fleet.
    pub scratch: Scratch,
}

/// One receiver's files: they survive its process, as a router's flash does.
#[derive(Debug, Clone)]
pub struct Device {
    /// For `--state`.
    pub state: PathBuf,
    /// For `--out`.
    pub out: PathBuf,
}

impl Fleet {
    /// Makes the lab and the key; no program runs yet.
    ///
    /// # Errors
    /// When the lab cannot be built, or `keygen` fails.
    pub fn new(binaries: Binaries, channel: Channel, receivers: usize) -> Result<Self, LabError> {
        let lab = Lab::new(&LabConfig { receivers, ..LabConfig::default() })?;
        let scratch = Scratch::new()?;
        let key = KeyPair::generate(&binaries, scratch.path(), "release")?;
        Ok(Self { lab, binaries, channel, key, product: PRODUCT.into(), hardware: HARDWARE.into(), scratch })
    }

    /// A signed release of `len` pseudo-random bytes, different for each sequence.
    ///
    /// # Errors
    /// When the image cannot be written or sealed.
    pub fn release(&self, len: u64, sequence: u64) -> Result<Release, LabError> {
        let image = self.scratch.join(format!("firmware-{sequence}.bin"));
        image::write_pseudo_random(&image, len, sequence)?;
        Release::seal(&self.binaries, image, &self.key, sequence)
    }

    /// The files of receiver `index`: none yet, unless it ran before.
    pub fn device(&self, index: usize) -> Device {
        let name = |kind: &str| self.scratch.join(format!("r{index}.{kind}"));
        Device { state: name("state"), out: name("bin") }
    }

    /// `fleetcast-send send` of a release; rate and repair are for the caller to add.
    pub fn sender(&self, release: &Release) -> Invocation {
        let mut command = match real_time() {
            Some((program, args)) => {
                let mut command = self.lab.sender().command(program);
                command.args(args).arg(&self.binaries.send);
                command
            }
            None => self.lab.sender().command(&self.binaries.send),
        };
        command.arg("send").arg(&release.image).arg("--manifest").arg(&release.manifest);
        let invocation = Invocation { name: "the sender".into(), command };
        let channel = Channel { source: None, ..self.channel };
        invocation.args(channel.options()).args(["--interface", INTERFACE, "--json"])
    }

    /// `fleetcast-recv receive` at receiver `index`, that trusts the release key and writes its device's file.
    pub fn receiver(&self, index: usize) -> Invocation {
        self.receiver_without_output(index).args(["--out".as_ref(), self.device(index).out.as_os_str()])
    }

    /// The same without `--out`.
    pub fn receiver_without_output(&self, index: usize) -> Invocation {
        let trust = ["--trust".as_ref(), self.key.public.as_os_str()];
        self.bare_receiver(index).args(self.channel.options()).args(trust)
    }

    /// The same without a channel, trust and `--out`, for the caller to add.
    ///
    /// # Panics
    /// When the lab has no such receiver.
    pub fn bare_receiver(&self, index: usize) -> Invocation {
        let namespace = self.lab.receivers().get(index).expect("the fleet was made with its receivers");
        let mut command = namespace.command(&self.binaries.recv);
        command.arg("receive").arg("--state").arg(self.device(index).state);
        Invocation { name: format!("receiver {index}"), command }.args([
            "--product",
            &self.product,
            "--hardware",
            &self.hardware,
            "--interface",
            INTERFACE,
            "--json",
        ])
    }

    /// Waits until the receivers have joined, each by its own word, and the bridge knows all of them as members.
    ///
    /// # Errors
    /// When one does not join within 10 s.
    pub fn await_joined(&self, receivers: &mut [Process]) -> Result<(), LabError> {
        for receiver in receivers {
            receiver.wait_event("joined", JOIN_TIMEOUT)?;
        }
        self.lab.await_all_joined(self.channel.group)
    }
}

/// How to start the sender at real-time priority, where the kernel lets us. It stands for a machine of its own, and here it
/// shares two cores with every receiver's decoder: their time slices would show as its lateness. Only its first thread,
/// which paces, gets the priority: threads that it starts are ordinary ones.
fn real_time() -> Option<(&'static str, [&'static str; 3])> {
    const PRIORITY: [&str; 3] = ["--reset-on-fork", "--rr", "10"];
    run(Command::new("chrt").args(PRIORITY).arg("true")).ok()?;
    Some(("chrt", PRIORITY))
}

/// A command line of one of the programs, to be run in a namespace of the lab.
#[derive(Debug)]
pub struct Invocation {
    name: String,
    command: Command,
}

impl Invocation {
    /// Appends arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it where `mount` is.
    #[must_use]
    pub fn inside(mut self, mount: &Mount) -> Self {
        self.command = mount.command(&self.command);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self) -> Result<Process, LabError> {
        Process::spawn(self.name, self.command)
    }
}
