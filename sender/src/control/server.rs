//! The socket and the thread that serves it.

use super::{Command, ControlError, MAX_LINE};
use crate::pace::Pace;
use rustix::fs::{Mode, fchmod};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A client that says nothing for so long is left, so that the next one gets its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections that wait.
const BACKLOG: i32 = 8;

/// The control socket. It is removed when this is dropped; its thread ends with the process.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
}

impl ControlSocket {
    /// Listens at `path`, for the owner only, and serves `pace` of a session of `planned_packets` packets. `stop` is set when
    /// a client asks for it.
    pub fn serve(
        path: &Path,
        pace: Arc<Pace>,
        planned_packets: Option<u64>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, ControlError> {
        let error = |source| ControlError::Bind { path: path.to_owned(), source };
        let listener = listen(path)?;
        let control = Self { path: path.to_owned() };
        let server = Server { pace, planned_packets, stop, started: Instant::now() };
        thread::Builder::new().name("control".into()).spawn(move || server.serve(&listener)).map_err(error)?;
        Ok(control)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Somebody may have removed it before.
        let _ = fs::remove_file(&self.path);
    }
}

fn listen(path: &Path) -> Result<UnixListener, ControlError> {
    let error = |source| ControlError::Bind { path: path.to_owned(), source };
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(ControlError::NotASocket(path.to_owned()));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(ControlError::InUse(path.to_owned()));
        }
        // A sender that was killed left it.
        fs::remove_file(path).map_err(error)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(error)?;
    // The file gets the socket's mode when it is made: at no moment can others open it.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|errno| error(errno.into()))?;
    socket.bind(&SockAddr::unix(path).map_err(error)?).map_err(error)?;
    socket.listen(BACKLOG).map_err(error)?;
    Ok(UnixListener::from(socket))
}

struct Server {
    pace: Arc<Pace>,
    planned_packets: Option<u64>,
    stop: Arc<AtomicBool>,
    started: Instant,
}

impl Server {
    fn serve(&self, listener: &UnixListener) {
        for stream in listener.incoming() {
            // A client that went away, or never said anything, is no reason to end.
            let _ = stream.and_then(|stream| self.answer_client(stream));
        }
    }

    fn answer_client(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            // One byte more than a line may have: that is how a longer one shows.
            if reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let whole = line.ends_with(b"\n");
            writeln!(reader.get_mut(), "{}", self.answer(&line))?;
            if !whole {
                return Ok(());
            }
        }
    }

    fn answer(&self, line: &[u8]) -> Value {
        match Command::parse(line) {
            Ok(Command::Rate(rate_bps)) => {
                self.pace.timeline.set_rate_bps(rate_bps);
                json!({ "ok": true, "rate_bps": rate_bps })
            }
            Ok(Command::Status) => self.status(),
            Ok(Command::Stop) => {
                self.stop.store(true, Ordering::Relaxed);
                json!({ "ok": true })
            }
            Err(error) => json!({ "ok": false, "error": error.to_string() }),
        }
    }

    fn status(&self) -> Value {
        let (progress, plan) = (&self.pace.progress, self.pace.timeline.plan());
        json!({
            "ok": true, "rate_bps": self.pace.timeline.rate_bps(), "seconds": self.started.elapsed().as_secs_f64(),
            "packets": progress.packets(), "payload_bytes": progress.payload_bytes(),
            "planned_packets": self.planned_packets, "slips": plan.slips, "slipped_s": plan.slipped.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask;
    use super::*;
    use crate::pace::{Burst, Progress, Timeline};
    use std::os::unix::fs::PermissionsExt;

    fn pace() -> Arc<Pace> {
        Arc::new(Pace {
            timeline: Timeline::new(1_000_000),
            burst: Burst::Default,
            packet_bits: 1,
            kernel: None,
            progress: Progress::default(),
            stop: Arc::default(),
        })
    }

    #[test]
    fn changes_the_rate_tells_the_status_and_stops() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let (pace, stop) = (pace(), Arc::new(AtomicBool::new(false)));
        let control = ControlSocket::serve(&path, Arc::clone(&pace), Some(9), Arc::clone(&stop)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&path, "rate 50M").unwrap()["rate_bps"], 50_000_000);
        assert_eq!(pace.timeline.rate_bps(), 50_000_000);
        pace.progress.add(3, 4000);
        let status = ask(&path, "status").unwrap();
        assert_eq!((&status["packets"], &status["planned_packets"]), (&json!(3), &json!(9)));
        let error = ask(&path, "rate 0").unwrap_err();
        assert!(matches!(&error, ControlError::Refused(text) if text.contains("100M")), "{error}");
        assert!(ask(&path, &"x".repeat(5000)).is_err());
        assert!(!stop.load(Ordering::Relaxed));
        ask(&path, "stop").unwrap();
        assert!(stop.load(Ordering::Relaxed));
        drop(control);
        assert!(!path.exists());
    }

    #[test]
    fn takes_over_what_a_killed_sender_left_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let serve = || ControlSocket::serve(&path, pace(), None, Arc::default());
        fs::write(&path, "mine").unwrap();
        assert!(matches!(serve(), Err(ControlError::NotASocket(_))));
        fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let control = serve().unwrap();
        assert!(matches!(serve(), Err(ControlError::InUse(_))));
        assert!(path.exists());
        drop(control);
        let nowhere = folder.path().join("no/such");
        let error = ControlSocket::serve(&nowhere, pace(), None, Arc::default()).unwrap_err().to_string();
        assert!(error.contains("must exist"), "{error}");
        assert!(matches!(ask(&path, "status"), Err(ControlError::Ask { .. })));
    }
}
