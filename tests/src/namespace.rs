//! A network namespace: a host of its own, as far as networking is concerned.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::{panic, process, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{run, run_with_input};
use crate::link::Link;
use crate::lock::LabLock;
use crate::{LabError, sweep};

/// How the names of the lab's namespaces begin; a pid and a role follow.
pub const PREFIX: &str = "fleetcast-";
/// Where `ip netns` keeps them.
pub const FOLDER: &str = "/run/netns";

/// A named namespace that exists as long as this value. What still runs inside when it is dropped is killed.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates `fleetcast-<pid>-<role>` with a running loopback, and without IPv6 duplicate address detection: a tentative
    /// address sends its MLD reports from `::`, and a snooping bridge ignores those.
    ///
    /// # Errors
    /// When `ip` fails (not root, or the name is taken).
    pub fn new(_lock: &LabLock, role: &str) -> Result<Self, LabError> {
        let name = format!("{PREFIX}{}-{role}", process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.enter(|| {
            for (setting, value) in
                [("all/accept_dad", "0"), ("default/accept_dad", "0"), ("default/dad_transmits", "0")]
            {
                let path = Path::new("/proc/sys/net/ipv6/conf").join(setting);
                std::fs::write(&path, value).map_err(LabError::io(format!("write {}", path.display())))?;
            }
            Ok(())
        })??;
        namespace.ip(&["link set lo up"])?;
        Ok(namespace)
    }

    /// Its name, for `ip -n` and for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One of its interfaces; it need not exist yet.
    pub fn link<'a>(&'a self, name: &'a str) -> Link<'a> {
        Link::new(self, name)
    }

    /// Runs lines of `ip` (without the word `ip`) inside, all or up to the first that fails.
    ///
    /// # Errors
    /// The first line that fails.
    pub fn ip(&self, lines: &[impl AsRef<str>]) -> Result<(), LabError> {
        let script: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
        run_with_input(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), script.as_bytes()).map(drop)
    }

    /// A command that will run inside, with a `/sys` that shows the inside.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs a closure on a thread inside: sockets that it opens belong to the namespace for ever. A panic passes through.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let path = Path::new(FOLDER).join(&self.name);
        let file = File::open(&path).map_err(LabError::io(format!("open {}", path.display())))?;
        // A thread of its own, because a thread that left its namespace need not be able to come back.
        let entered = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        });
        entered.map_err(|errno: rustix::io::Errno| LabError::io(format!("enter namespace {}", self.name))(errno.into()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        sweep::remove_namespace(&self.name);
    }
}
