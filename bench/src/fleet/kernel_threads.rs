//! Gives the lab's own work to threads of the kernel.
//!
//! The kernel charges the way of a packet over the bridge and into the receivers to whoever sent it. A real network does that
//! elsewhere. So the devices poll in threads, at real-time priority: a device whose thread waits for a core drops packets.

use anyhow::Context;
use fleetcast_tests::command::run;
use fleetcast_tests::lab::{INTERFACE, Lab, SENDER_PORT};
use fleetcast_tests::link::Link;
use rustix::process::Pid;
use std::collections::HashSet;
use std::fs;
use std::process::Command;

/// How the kernel's polling threads are named.
const PREFIX: &str = "napi/";
/// Above the sender, whose packets they take away.
const PRIORITY: &str = "20";

/// Has the bridge's port to the sender and every receiver's interface poll in threads. Says whether their priority could be
/// raised.
pub fn give_to_kernel_threads(lab: &Lab) -> anyhow::Result<bool> {
    let before = polling();
    // A veth polls what comes from a peer that cuts no TCP; UDP's super-packets stay whole.
    lab.wire().set_feature("tcp-segmentation-offload", false)?;
    let port = lab.bridge().namespace().link(SENDER_PORT);
    port.set_feature("gro", true)?;
    thread(port)?;
    lab.receivers().iter().try_for_each(|receiver| thread(receiver.link(INTERFACE)))?;
    let raise = |pid: &Pid| {
        run(Command::new("chrt").args(["--rr", "--pid", PRIORITY, &pid.as_raw_nonzero().to_string()])).is_ok()
    };
    Ok(polling().difference(&before).all(raise))
}

fn thread(link: Link<'_>) -> anyhow::Result<()> {
    let script = format!("echo 1 > /sys/class/net/{}/threaded", link.name());
    run(link.namespace().command("sh").args(["-c", &script])).context("this kernel polls no device in a thread")?;
    Ok(())
}

/// The kernel's polling threads there are.
fn polling() -> HashSet<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let is_polling = |pid: &Pid| {
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
        name.is_ok_and(|name| name.starts_with(PREFIX))
    };
    pids.filter(is_polling).collect()
}
