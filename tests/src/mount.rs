//! A small file system of its own, to be filled to the last byte: it exists in a mount namespace only, and as long as this
//! value.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::LabError;

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// A RAM disk.
    Tmpfs,
    /// A file with an ext4 in it.
    Ext4,
}

/// A mounted file system, inside a mount namespace that nobody else is in. Gone on drop, and when this process dies.
#[derive(Debug)]
pub struct Mount {
    /// Keeps the namespace, and the mount in it; ends when its standard input does.
    holder: Child,
    folder: PathBuf,
}

impl Mount {
    /// Mounts a file system of about `bytes` at `folder`, an empty one that this makes.
    ///
    /// # Errors
    /// When this user may not, or the kernel has no such file system.
    pub fn new(kind: FileSystem, folder: PathBuf, bytes: u64) -> Result<Self, LabError> {
        std::fs::create_dir_all(&folder).map_err(LabError::io(format!("make {}", folder.display())))?;
        let shown = folder.display();
        let mount = match kind {
            FileSystem::Tmpfs => format!("mount -t tmpfs -o size={bytes} tmpfs '{shown}'"),
            FileSystem::Ext4 => format!(
                "truncate -s {bytes} '{shown}.ext4' && mkfs.ext4 -q -m 0 -O ^has_journal '{shown}.ext4' && \
                 mount -o loop '{shown}.ext4' '{shown}'"
            ),
        };
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &format!("{mount} && echo mounted && exec cat")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(LabError::io("start unshare"))?;
        let mut said = String::new();
        if let Some(stdout) = holder.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut said);
        }
        if said.trim() == "mounted" {
            return Ok(Self { holder, folder });
        }
        let output = holder.wait_with_output().map_err(LabError::io("wait for unshare"))?;
        Err(LabError::Command { command: mount, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
    }

    /// Where it is for programs inside.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same file system from outside.
    pub fn seen_from_outside(&self) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// Runs a command inside.
    pub fn command(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
