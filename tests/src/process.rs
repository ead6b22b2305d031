//! A fleetcast program at work: its `--json` events as they come, and never a process left behind.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{LabError, interrupt};

const POLL: Duration = Duration::from_millis(20);
const DRAIN: Duration = Duration::from_secs(1);
const STDERR_LINES_KEPT: usize = 40;

/// A running program that prints one JSON object a line. Killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: mpsc::Receiver<(Instant, String)>,
    events: Vec<Event>,
    /// How many of `events` were looked at by [`Process::wait_event`].
    awaited: usize,
    stderr: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: Option<JoinHandle<()>>,
}

/// An event, and when it was read.
#[derive(Debug, Clone)]
pub struct Event {
    /// By the lab's clock.
    pub at: Instant,
    /// The JSON object.
    pub fields: Value,
}

impl Event {
    fn is(&self, name: &str) -> bool {
        self.fields.get("event").and_then(Value::as_str) == Some(name)
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// All events that it printed.
    pub events: Vec<Event>,
    /// The last lines of its standard error.
    pub stderr: String,
}

impl Finished {
    /// The last event of this name.
    pub fn event(&self, name: &str) -> Option<&Value> {
        self.last(name).map(|event| &event.fields)
    }

    /// When the last event of this name was read.
    pub fn event_at(&self, name: &str) -> Option<Instant> {
        self.last(name).map(|event| event.at)
    }

    fn last(&self, name: &str) -> Option<&Event> {
        self.events.iter().rev().find(|event| event.is(name))
    }

    /// The exit code; `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl Process {
    /// Starts a command; `name` is for messages.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(name: impl Into<String>, mut command: Command) -> Result<Self, LabError> {
        let name = name.into();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(LabError::io(format!("start {name}")))?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || for_each_line(stdout, |line| drop(sender.send((Instant::now(), line)))));
        }
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&stderr);
        let stderr_reader = child.stderr.take().map(|stderr| {
            thread::spawn(move || {
                for_each_line(stderr, |line| {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() == STDERR_LINES_KEPT {
                        kept.pop_front();
                    }
                    kept.push_back(line);
                });
            })
        });
        Ok(Self { name, child, lines, events: Vec::new(), awaited: 0, stderr, stderr_reader })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next event of this name after those that were waited for before.
    ///
    /// # Errors
    /// On an interrupt, after `timeout`, when the program ends without it, or prints what is not JSON.
    pub fn wait_event(&mut self, event: &str, timeout: Duration) -> Result<Value, LabError> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(next) = self.events.get(self.awaited) {
                self.awaited += 1;
                if next.is(event) {
                    return Ok(next.fields.clone());
                }
            }
            interrupt::check()?;
            let awaited = || format!("its event \"{event}\"");
            if Instant::now() > deadline {
                let what = format!("{}: {}; it last said: {}", self.name, awaited(), self.stderr_text());
                return Err(LabError::Timeout { what, waited: timeout });
            }
            match self.lines.recv_timeout(POLL) {
                Ok((at, line)) => self.keep(at, &line)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.wait_exit(deadline, timeout)?.to_string();
                    interrupt::check()?;
                    self.drain_stderr();
                    let stderr = self.stderr_text();
                    return Err(LabError::Ended { program: self.name.clone(), status, awaited: awaited(), stderr });
                }
            }
        }
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// On an interrupt, after `timeout`, or when it printed what is not JSON.
    pub fn finish(mut self, timeout: Duration) -> Result<Finished, LabError> {
        let deadline = Instant::now() + timeout;
        let status = self.wait_exit(deadline, timeout)?;
        while let Ok((at, line)) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.keep(at, &line)?;
        }
        self.drain_stderr();
        Ok(Finished { status, events: std::mem::take(&mut self.events), stderr: self.stderr_text() })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return Ok(()) };
        kill_process(pid, signal).map_err(|errno| LabError::io(format!("signal {}", self.name))(errno.into()))
    }

    fn wait_exit(&mut self, deadline: Instant, timeout: Duration) -> Result<ExitStatus, LabError> {
        loop {
            if let Some(status) = self.child.try_wait().map_err(LabError::io(format!("wait for {}", self.name)))? {
                return Ok(status);
            }
            interrupt::check()?;
            if Instant::now() > deadline {
                let what = format!("the end of {}; it last said: {}", self.name, self.stderr_text());
                return Err(LabError::Timeout { what, waited: timeout });
            }
            thread::sleep(POLL);
        }
    }

    /// Lets the reader see the end of what an ended program wrote; not for ever, because a child of it may hold the pipe.
    fn drain_stderr(&self) {
        let deadline = Instant::now() + DRAIN;
        while self.stderr_reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn keep(&mut self, at: Instant, line: &str) -> Result<(), LabError> {
        let fields = serde_json::from_str(line)
            .map_err(|_| LabError::Output { program: self.name.clone(), line: line.to_owned() })?;
        self.events.push(Event { at, fields });
        Ok(())
    }

    fn stderr_text(&self) -> String {
        let lines = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
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

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("script", command).unwrap()
    }

    #[test]
    fn events_come_in_order_and_once() {
        let mut process =
            shell(r#"echo '{"event":"a","n":1}'; echo '{"event":"b"}'; echo '{"event":"a","n":2}'; exit 4"#);
        assert_eq!(process.wait_event("a", SOON).unwrap()["n"], 1);
        assert_eq!(process.wait_event("a", SOON).unwrap()["n"], 2);
        let finished = process.finish(SOON).unwrap();
        assert_eq!((finished.code(), finished.events.len()), (Some(4), 3));
        assert_eq!(finished.event("a").unwrap()["n"], 2);
    }

    #[test]
    fn says_why_nothing_comes() {
        let ended = shell("echo sorry >&2; exit 3").wait_event("a", SOON).unwrap_err().to_string();
        assert!(ended.contains("exit status: 3") && ended.contains("sorry"), "{ended}");
        let noise = shell("echo noise; sleep 60").wait_event("a", SOON).unwrap_err();
        assert!(matches!(noise, LabError::Output { .. }), "{noise}");
        let silent = shell("sleep 60").wait_event("a", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(silent, LabError::Timeout { .. }), "{silent}");
    }

    #[test]
    fn is_killed_on_drop_and_by_signal() {
        let process = shell("exec sleep 60");
        let pid = process.pid();
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        let process = shell("exec sleep 60");
        // Not INT: started in the background of a shell, a program inherits that it is ignored.
        process.signal(Signal::TERM).unwrap();
        assert_eq!(process.finish(SOON).unwrap().code(), None);
    }
}
