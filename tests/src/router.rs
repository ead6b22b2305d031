//! A multicast router: a namespace with FRR's zebra and pimd inside, in folders of their own. The host's FRR is not touched.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::command::run;
use crate::lock::LabLock;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::{LabError, interrupt};

/// Where Debian's package has its daemons, and where they may write: they give up root for a user of their own.
const DAEMONS: &str = "/usr/lib/frr";
const RUN: &str = "/run/frr";
const USER: &str = "frr:frr";
const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A running router. Ended on drop.
#[derive(Debug)]
pub struct Router {
    // Dropped in this order: daemons before the namespace that they are in.
    daemons: Vec<Process>,
    folder: PathBuf,
    namespace: Namespace,
}

impl Router {
    /// Whether FRR is installed.
    ///
    /// # Errors
    /// [`LabError::Unfit`] says what to do.
    pub fn check() -> Result<(), LabError> {
        if Path::new(DAEMONS).join("pimd").is_file() {
            return Ok(());
        }
        Err(LabError::Unfit(format!("{DAEMONS}/pimd not found; run scripts/setup test, which installs Debian's frr")))
    }

    /// A namespace that forwards, without daemons yet.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub fn new(lock: &LabLock, role: &str) -> Result<Self, LabError> {
        let namespace = Namespace::new(lock, role)?;
        namespace.enter(|| {
            for (setting, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")]
            {
                let path = Path::new("/proc/sys/net/ipv4").join(setting);
                fs::write(&path, value).map_err(LabError::io(format!("write {}", path.display())))?;
            }
            Ok(())
        })??;
        let folder = Path::new(RUN).join(namespace.name());
        Ok(Self { daemons: Vec::new(), folder, namespace })
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Starts zebra and pimd; `pim` is pimd's configuration. The interfaces that it names must be there.
    ///
    /// # Errors
    /// When a daemon cannot be started.
    pub fn start(&mut self, pim: &str) -> Result<(), LabError> {
        fs::create_dir_all(&self.folder).map_err(LabError::io(format!("make {}", self.folder.display())))?;
        for (name, configuration) in [("zebra", "\n"), ("pimd", pim)] {
            let file = self.folder.join(format!("{name}.conf"));
            fs::write(&file, configuration).map_err(LabError::io(format!("write {}", file.display())))?;
        }
        run(Command::new("chown").args(["-R", USER]).arg(&self.folder))?;
        self.daemons.push(self.daemon("zebra")?);
        self.await_file("zserv")?;
        self.daemons.push(self.daemon("pimd")?);
        Ok(())
    }

    /// Waits until the kernel forwards a group: somebody behind this router has joined, and PIM has said so here.
    ///
    /// # Errors
    /// On an interrupt, or after `timeout`.
    pub fn await_route(&self, group: Ipv4Addr, timeout: Duration) -> Result<(), LabError> {
        self.wait(timeout, format!("a route for {group} in {}", self.namespace.name()), || self.forwards(group))
    }

    fn forwards(&self, group: Ipv4Addr) -> Result<bool, LabError> {
        // The thread's own view: /proc/net would be the view of the process's first thread, which is outside.
        let table = self.namespace.enter(|| fs::read_to_string("/proc/thread-self/net/ip_mr_cache"))?;
        Ok(table.is_ok_and(|table| routes_of(&table).any(|it| it == group)))
    }

    fn daemon(&self, name: &str) -> Result<Process, LabError> {
        let mut command = self.namespace.command(Path::new(DAEMONS).join(name));
        command.arg("-z").arg(self.folder.join("zserv")).arg("--vty_socket").arg(&self.folder);
        command.arg("-i").arg(self.folder.join(format!("{name}.pid"))).args(["-P", "0"]);
        command.arg("-f").arg(self.folder.join(format!("{name}.conf")));
        Process::spawn(format!("{name} of {}", self.namespace.name()), command)
    }

    fn await_file(&self, name: &str) -> Result<(), LabError> {
        let path = self.folder.join(name);
        self.wait(START_TIMEOUT, format!("{}", path.display()), || Ok(path.exists()))
    }

    fn wait(
        &self,
        timeout: Duration,
        what: String,
        mut done: impl FnMut() -> Result<bool, LabError>,
    ) -> Result<(), LabError> {
        let start = Instant::now();
        while !done()? {
            interrupt::check()?;
            if start.elapsed() > timeout {
                return Err(LabError::Timeout { what, waited: timeout });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.daemons.clear();
        // What is left there hinders nobody: its name has this process's number.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The groups of /proc/net/ip_mr_cache: hexadecimal, in the host's byte order.
fn routes_of(table: &str) -> impl Iterator<Item = Ipv4Addr> {
    let word = |line: &str| u32::from_str_radix(line.split_whitespace().next()?, 16).ok();
    table.lines().skip(1).filter_map(word).map(|group| Ipv4Addr::from(group.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_the_kernel_table() {
        let table = "Group    Origin   Iif     Pkts    Bytes    Wrong Oifs\n010101E8 02005A0A 1        100    12800        0  2:1\n";
        let groups: Vec<String> = routes_of(table).map(|group| group.to_string()).collect();
        assert_eq!(groups, ["232.1.1.1"]);
    }
}
