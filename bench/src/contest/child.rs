//! Children of the bench: what CPU time one took, and one that logs lines for people.

use anyhow::{Context, bail};
use fleetcast_tests::interrupt;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);
/// Lines that are kept to explain a failure.
const LINES_SHOWN: usize = 12;

/// Waits until a child of this process has ended, without reaping it, and returns the CPU time of all its threads in
/// seconds, user and system.
///
/// The kernel charges what it does for a packet on its way through the lab to whoever sent it, of either tool.
pub fn cpu_s_when_ended(pid: u32, timeout: Duration) -> anyhow::Result<f64> {
    cpu_times_when_ended(pid, timeout).map(CpuTimes::total_s)
}

/// CPU time of all threads of a process, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuTimes {
    /// In user space.
    pub user_s: f64,
    /// In the kernel.
    pub system_s: f64,
}

impl CpuTimes {
    fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }
}

/// The same as [`cpu_s_when_ended`], user and system apart.
pub fn cpu_times_when_ended(pid: u32, timeout: Duration) -> anyhow::Result<CpuTimes> {
    let child = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a child without a process id")?;
    let deadline = Instant::now() + timeout;
    // NOWAIT leaves it a zombie, whose times the kernel still shows.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(child), options).context("cannot wait for a child")?.is_none() {
        interrupt::check()?;
        if Instant::now() > deadline {
            bail!("process {pid} did not end within {} s", timeout.as_secs());
        }
        thread::sleep(POLL);
    }
    cpu_times_now(pid)
}

/// The CPU time of all threads of a process so far, in seconds, user and system.
pub fn cpu_s_now(pid: u32) -> anyhow::Result<f64> {
    cpu_times_now(pid).map(CpuTimes::total_s)
}

fn cpu_times_now(pid: u32) -> anyhow::Result<CpuTimes> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read the CPU time of a child")?;
    let (user, system) =
        ticks_of(&stat).with_context(|| format!("the kernel's line about process {pid} has no CPU times"))?;
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Ok(CpuTimes { user_s: seconds(user), system_s: seconds(system) })
}

/// User and system time in a line of `/proc/PID/stat`: fields 14 and 15, where field 2 is a name in parentheses that may
/// itself contain anything.
fn ticks_of(stat: &str) -> Option<(u64, u64)> {
    let mut from_utime = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || from_utime.next()?.parse::<u64>().ok();
    Some((next()?, next()?))
}

/// How a logging program ended.
#[derive(Debug)]
pub struct Ended {
    /// CPU time in seconds.
    pub cpu_s: f64,
    /// Exit status.
    pub status: ExitStatus,
    /// Its whole log.
    pub lines: Vec<String>,
}

/// A program that logs lines. Killed on drop.
#[derive(Debug)]
pub struct Logged {
    name: &'static str,
    child: Child,
    incoming: mpsc::Receiver<(Instant, String)>,
    lines: Vec<(Instant, String)>,
}

impl Logged {
    /// Starts a command whose log is its standard error; `name` is for messages.
    pub fn spawn(name: &'static str, mut command: Command) -> anyhow::Result<Self> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (outgoing, incoming) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || {
                for_each_line(stderr, |line| drop(outgoing.send((Instant::now(), line))));
            });
        }
        Ok(Self { name, child, incoming, lines: Vec::new() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line that contains `text`, from the start of the log, and says when it was read.
    pub fn wait_line(&mut self, text: &str, timeout: Duration) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some((at, _)) = self.lines.iter().find(|(_, line)| line.contains(text)) {
                return Ok(*at);
            }
            interrupt::check()?;
            match self.incoming.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => self.lines.push(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() <= deadline => {}
                Err(RecvTimeoutError::Timeout) => bail!("{} did not log '{text}' in time; {}", self.name, self.tail()),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended and did not log '{text}'; {}", self.name, self.tail())
                }
            }
        }
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It is our child and not reaped, so nobody else has its id; it may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for its end.
    pub fn finish(mut self, timeout: Duration) -> anyhow::Result<Ended> {
        let cpu_s = cpu_s_when_ended(self.pid(), timeout).with_context(|| format!("{}; {}", self.name, self.tail()))?;
        while let Ok(line) = self.incoming.recv_timeout(timeout) {
            self.lines.push(line);
        }
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(Ended { cpu_s, status, lines: self.lines.drain(..).map(|(_, line)| line).collect() })
    }

    fn tail(&self) -> String {
        let from = self.lines.len().saturating_sub(LINES_SHOWN);
        let lines: Vec<&str> = self.lines.iter().skip(from).map(|(_, line)| line.as_str()).collect();
        if lines.is_empty() { "it logged nothing".to_owned() } else { format!("it last logged:\n{}", lines.join("\n")) }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // Both do nothing to a child that was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn for_each_line(stream: impl Read, mut work: impl FnMut(String)) {
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        work(String::from_utf8_lossy(&line).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Logged {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Logged::spawn("a script", command).expect("sh is there")
    }

    #[test]
    fn counts_the_cpu_time_of_an_ended_child() {
        let idle = shell("sleep 0.1").finish(SOON).expect("it ends");
        let busy = shell("n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done").finish(SOON).expect("it ends");
        assert!(idle.cpu_s < 0.05, "{idle:?}");
        assert!(busy.cpu_s > 0.05 && busy.cpu_s < 20.0, "{busy:?}");
    }

    #[test]
    fn reads_times_past_any_name() {
        let stat = "7 (a) b (c)) Z 1 7 7 0 -1 4228172 10 0 0 0 31 11 0 0 20 0 1 0 123 0 0";
        assert_eq!(ticks_of(stat), Some((31, 11)));
        assert_eq!(ticks_of("7 (short) Z 1"), None);
    }

    #[test]
    fn waits_for_lines_and_says_what_came_instead() {
        let mut script = shell("echo one >&2; echo two >&2; exec sleep 60");
        let two = script.wait_line("tw", SOON).expect("it logs it");
        assert!(script.wait_line("one", SOON).expect("it logged it before") <= two);
        let error = script.wait_line("three", Duration::ZERO).expect_err("it never does").to_string();
        assert!(error.contains("three") && error.contains("one\ntwo"), "{error}");
        script.terminate();
        let ended = script.finish(SOON).expect("it was asked to end");
        assert_eq!((ended.lines.join(" ").as_str(), ended.status.code()), ("one two", None));
        let error = shell("echo sorry >&2; exit 3").wait_line("thanks", SOON).expect_err("it fails").to_string();
        assert!(error.contains("ended") && error.contains("sorry"), "{error}");
    }
}
