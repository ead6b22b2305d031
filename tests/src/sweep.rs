//! Removing what a lab made, also what one left that was killed before it could.
//!
//! While a [`LabLock`] is held no other lab is alive, so every namespace and folder with the lab's prefix and another
//! process's id is a leftover.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::run;
use crate::lock::LabLock;
use crate::{namespace, scratch};

/// Removes the leftovers of labs that were killed.
pub fn leftovers(_lock: &LabLock) {
    for name in foreign_names(Path::new(namespace::FOLDER), namespace::PREFIX) {
        remove_namespace(&name);
    }
    // Benches put their scratch folders into memory.
    for folder in [env::temp_dir(), PathBuf::from("/dev/shm")] {
        for name in foreign_names(&folder, scratch::PREFIX) {
            let _ = fs::remove_dir_all(folder.join(name));
        }
    }
}

/// Kills what runs in a namespace of the lab, and deletes it with every link in it. Best effort: used where nothing can be
/// reported, and what remains is swept by the next lab.
pub fn remove_namespace(name: &str) {
    let pids = run(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = run(Command::new("ip").args(["netns", "delete", name]));
}

fn foreign_names(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_foreign(name, prefix)).collect()
}

/// `<prefix><pid>-<rest>` with a pid that is not ours.
fn is_foreign(name: &str, prefix: &str) -> bool {
    let pid = name.strip_prefix(prefix).and_then(|rest| rest.split_once('-')).and_then(|(pid, _)| pid.parse().ok());
    pid.is_some_and(|pid: u32| pid != process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_another_pid_are_leftovers() {
        assert!(is_foreign("fleetcast-1-sender", namespace::PREFIX));
        assert!(!is_foreign(&format!("fleetcast-{}-sender", process::id()), namespace::PREFIX));
        for stranger in ["fleetcast-sender", "fleetcast-x1-sender", "other-1-sender", "fleetcast-1"] {
            assert!(!is_foreign(stranger, namespace::PREFIX), "{stranger}");
        }
    }
}
