//! The state folder: what is installed, and what is being received. One receiver at a time holds it.
//!
//! | file | content |
//! |---|---|
//! | `lock` | held by flock while a receiver runs |
//! | `installed.json` | the manifest applied last: the floor below which nothing is accepted |
//! | `manifest.fcm` | the manifest whose image is in `staging` |
//! | `staging` | the image as it comes together |
//! | `journal` | which symbols lie where in `staging` |
//! | `fetched` | how many bytes of it came from web servers |
//! | `device-id` | the name that this device gave itself |
//! | `report-counter` | the counter of its last report |
//! | `unsigned.staging` | a file that nobody signed, as it comes together |
//! | `unsigned` | the whole of it, with policy `none` |
//! | `verified` | the whole, verified image, with policy `none` |

use fleetcast_protocol::fleet::DeviceId;
use fleetcast_protocol::hex;
use fleetcast_protocol::manifest::SignedManifest;
use fleetcast_protocol::policy::Floor;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another receiver holds it.
    #[error(
        "state folder {0} is in use by another receiver; stop that one, or give this one a folder of its own with --state"
    )]
    InUse(PathBuf),
    /// `installed.json` is not readable as what it should be.
    #[error(
        "{path} is damaged ({reason}): it holds the lowest release this device accepts; restore it, or remove it to accept any release"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("cannot {what} {path}: {source}; give a folder with --state that can be written to and has room")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The record of an applied manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Name of the image.
    pub name: String,
    /// Version for people.
    pub version: String,
    /// Sequence: the rollback floor.
    pub sequence: u64,
    /// Digest of the manifest, in hex.
    pub manifest: String,
    /// When it was applied, in seconds since 1970.
    pub applied_unix_s: u64,
}

impl Installed {
    /// The record of `manifest`, applied at `applied_unix_s`.
    pub fn of(manifest: &SignedManifest, applied_unix_s: u64) -> Self {
        let content = manifest.manifest();
        Self {
            name: content.name.clone(),
            version: content.version.clone(),
            sequence: content.sequence,
            manifest: hex::encode(&manifest.digest()),
            applied_unix_s,
        }
    }
}

/// A state folder that this process holds.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Released by the kernel when the process ends, however it ends.
    _lock: File,
    installed: Option<Installed>,
}

impl State {
    /// Takes the folder, and makes it when it is not there.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(folder).map_err(io_error("make the state folder", folder))?;
        let lock_path = folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io_error("write to the state folder:", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::InUse(folder.to_owned())),
            Err(errno) => return Err(io_error("lock", &lock_path)(errno.into())),
        }
        let installed = read_installed(&folder.join("installed.json"))?;
        Ok(Self { folder: folder.to_owned(), _lock: lock, installed })
    }

    /// What was applied last.
    pub fn installed(&self) -> Option<&Installed> {
        self.installed.as_ref()
    }

    /// The rollback floor.
    pub fn floor(&self) -> Option<Floor> {
        let installed = self.installed.as_ref()?;
        Some(Floor { sequence: installed.sequence, digest: hex::decode_sha256(&installed.manifest)? })
    }

    /// Where the image comes together.
    pub fn staging_path(&self) -> PathBuf {
        self.folder.join("staging")
    }

    /// Where it is noted which symbols `staging` holds.
    pub fn journal_path(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Where it is noted how much was fetched from web servers.
    pub fn fetched_path(&self) -> PathBuf {
        self.folder.join("fetched")
    }

    /// The manifest of an upgrade that an earlier run left unfinished, as it came: nothing of it is verified.
    pub fn unfinished(&self) -> Option<Vec<u8>> {
        let manifest = fs::read(self.manifest_path()).ok()?;
        self.staging_path().exists().then_some(manifest)
    }

    /// The name of this device: random, made once.
    pub fn device_id(&self) -> Result<DeviceId, StateError> {
        let path = self.folder.join("device-id");
        if let Some(known) = fs::read_to_string(&path).ok().and_then(|text| text.trim_end().parse().ok()) {
            return Ok(known);
        }
        let failed =
            |error: String| StateError::Io { what: "name", path: path.clone(), source: io::Error::other(error) };
        let random = getrandom::u64().map_err(|error| failed(error.to_string()))?;
        let device: DeviceId = format!("{random:016x}").parse().map_err(|error| failed(format!("{error}")))?;
        write_durably(&path, device.as_str().as_bytes())?;
        Ok(device)
    }

    /// The counter of the last report; 0 when that is not known.
    pub fn report_counter(&self) -> u64 {
        fs::read_to_string(self.folder.join("report-counter"))
            .ok()
            .and_then(|it| it.trim_end().parse().ok())
            .unwrap_or(0)
    }

    /// Notes the counter of a report that is about to be sent.
    pub fn note_report_counter(&self, counter: u64) -> Result<(), StateError> {
        replace(&self.folder.join("report-counter"), counter.to_string().as_bytes())
    }

    /// Where policy `none` leaves the verified image.
    pub fn verified_path(&self) -> PathBuf {
        self.folder.join("verified")
    }

    /// Where policy `none` leaves a file that nobody signed.
    pub fn unsigned_path(&self) -> PathBuf {
        self.folder.join("unsigned")
    }

    /// Removes what an earlier run left of a file that nobody signed, and says where the next one comes together.
    pub fn begin_unsigned(&self) -> Result<PathBuf, StateError> {
        let path = self.folder.join("unsigned.staging");
        remove_if_there(&path)?;
        Ok(path)
    }

    /// Whether an earlier run began staging for `manifest`; an image that it had left verified goes back to staging.
    pub fn continues(&self, manifest: &SignedManifest) -> bool {
        let begun = fs::read(self.manifest_path()).is_ok_and(|bytes| {
            SignedManifest::parse_unverified(&bytes).is_ok_and(|staged| staged.digest() == manifest.digest())
        });
        if begun && !self.staging_path().exists() {
            // Its blocks are hashed again like any others, so a wrong file costs nothing but the hashing.
            let _ = fs::rename(self.verified_path(), self.staging_path());
        }
        begun
    }

    /// Notes that `staging` is for `manifest` from now on, durably, before the first byte of it is written.
    pub fn begin_staging(&self, manifest: &SignedManifest) -> Result<(), StateError> {
        remove_if_there(&self.staging_path())?;
        remove_if_there(&self.journal_path())?;
        write_durably(&self.manifest_path(), manifest.bytes())
    }

    /// Notes that `manifest` was applied, durably: it is the floor from now on, and staging is over.
    pub fn commit(&mut self, manifest: &SignedManifest, applied_unix_s: u64) -> Result<(), StateError> {
        let installed = Installed::of(manifest, applied_unix_s);
        let path = self.folder.join("installed.json");
        let json = serde_json::to_vec_pretty(&installed)
            .map_err(|error| StateError::Damaged { path: path.clone(), reason: error.to_string() })?;
        write_durably(&path, &json)?;
        self.installed = Some(installed);
        // Left over or already moved away: either way nothing depends on them any more.
        for path in [self.manifest_path(), self.journal_path(), self.staging_path(), self.fetched_path()] {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder.join("manifest.fcm")
    }
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |source| StateError::Io { what, path: path.to_owned(), source }
}

fn remove_if_there(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(source)),
        _ => Ok(()),
    }
}

fn read_installed(path: &Path) -> Result<Option<Installed>, StateError> {
    let damaged = |reason: String| StateError::Damaged { path: path.to_owned(), reason };
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("read", path)(source)),
        Ok(bytes) => {
            let installed: Installed = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
            match hex::decode_sha256(&installed.manifest) {
                Some(_) => Ok(Some(installed)),
                None => Err(damaged("'manifest' is no SHA-256 in hex".into())),
            }
        }
    }
}

/// Replaces the file at `path` as a whole: after a crash it holds the old content or the new, never a mixture.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let (mut file, temporary) = create_beside(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &temporary))?;
    fs::rename(&temporary, path).map_err(io_error("replace", path))?;
    sync_folder_of(path).map_err(io_error("sync the folder of", path))
}

/// Replaces the file at `path` as a whole, without waiting for the medium: a power cut may leave it empty.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let (mut file, temporary) = create_beside(path)?;
    file.write_all(bytes).map_err(io_error("write", &temporary))?;
    fs::rename(&temporary, path).map_err(io_error("replace", path))
}

/// A new file with another name than `path` in the same folder.
fn create_beside(path: &Path) -> Result<(File, PathBuf), StateError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let file = File::create(&temporary).map_err(io_error("write", &temporary))?;
    Ok((file, temporary))
}

/// Makes a rename in the folder of `path` durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// The folder that a file at `path` is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_receiver_holds_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = State::open(folder.path()).unwrap();
        assert!(matches!(State::open(folder.path()), Err(StateError::InUse(_))));
        drop(held);
        State::open(folder.path()).unwrap();
    }

    #[test]
    fn a_damaged_floor_is_an_error_and_not_no_floor() {
        let folder = tempfile::tempdir().unwrap();
        let record = Installed {
            name: "fw".into(),
            version: "1".into(),
            sequence: 3,
            manifest: hex::encode(&[0xAB; 32]),
            applied_unix_s: 0,
        };
        let whole = serde_json::to_string(&record).unwrap();
        let path = folder.path().join("installed.json");
        fs::write(&path, &whole).unwrap();
        let floor = State::open(folder.path()).unwrap().floor().unwrap();
        assert_eq!((floor.sequence, floor.digest), (3, [0xAB; 32]));
        for damaged in ["", "{}", &whole[..whole.len() - 2], &whole.replace("abab", "xyz")] {
            fs::write(&path, damaged).unwrap();
            let error = State::open(folder.path()).unwrap_err();
            assert!(error.to_string().contains("installed.json"), "{error}");
        }
    }

    #[test]
    fn replaces_files_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_durably(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
