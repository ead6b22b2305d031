//! Files that nobody signed (`--trust none`): staged beside everything that is signed, and put in their place.
//!
//! Nothing here touches what a signed upgrade has left in the state folder: not its staging and journal, not the rollback
//! floor. An unfinished file is never resumed, because there is no hash to prove it by.

use super::{Options, ReceiveError, Run};
use crate::apply::{Apply, ApplyError, apply_unsigned};
use crate::staging::Staging;
use crate::state::State;
use fleetcast_protocol::hex;
use fleetcast_protocol::session::receiver::{StagingLayout, UnsignedFile};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes hashed at a time.
const READ_BYTES: usize = 1 << 20;

impl Run<'_> {
    /// Prepares staging for a file that nobody signed.
    pub(super) fn begin_unsigned(&mut self, file: &UnsignedFile) -> Result<(), ReceiveError> {
        match stage(self.options, &self.state, file) {
            Ok(staging) => {
                self.checker.begin(self.session.generation(), &staging, Vec::new());
                self.staging = Some(staging);
                self.session.begin(self.now(), []);
                self.report.begun_unsigned(file);
                Ok(())
            }
            Err(error) if self.options.once => Err(error),
            Err(error) => {
                self.report.failed_and_goes_on(&error);
                Ok(())
            }
        }
    }

    pub(super) fn finish_unsigned(
        &mut self,
        file: &UnsignedFile,
        staging: &Staging,
        sha256: [u8; 32],
    ) -> Result<(), ReceiveError> {
        let path = finish(self.options, &self.state, file, staging, &sha256)?;
        self.report.received_unsigned(file, &sha256, &self.session, self.now());
        self.report.applied(&self.options.apply, Some(&path));
        self.done_if_once("received");
        Ok(())
    }
}

/// Prepares an empty staging file; an error when the file could get no final name.
fn stage(options: &Options, state: &State, file: &UnsignedFile) -> Result<Arc<Staging>, ReceiveError> {
    target(options, state, file)?;
    let path = state.begin_unsigned()?;
    Ok(Arc::new(Staging::open(&path, StagingLayout::new(file.partition))?))
}

/// Compares the MD5 if the FDT gave one, and puts the file in its place, which is returned. `sha256` is what was read back.
fn finish(
    options: &Options,
    state: &State,
    file: &UnsignedFile,
    staging: &Staging,
    sha256: &[u8; 32],
) -> Result<PathBuf, ReceiveError> {
    staging.trim()?;
    if let Some(expected) = file.content_md5 {
        let found = md5_of(staging.path())?;
        if found != expected {
            return Err(ReceiveError::Md5 { found: hex::encode(&found), expected: hex::encode(&expected) });
        }
    }
    let target = target(options, state, file)?;
    apply_unsigned(staging, sha256, &target)?;
    Ok(target)
}

/// Where the file goes. Its own name is only taken when it replaces nothing: anybody may have chosen it.
fn target(options: &Options, state: &State, file: &UnsignedFile) -> Result<PathBuf, ApplyError> {
    match (&options.apply, &options.out) {
        (Apply::None, _) => Ok(state.unsigned_path()),
        (_, Some(out)) => Ok(out.clone()),
        (_, None) => {
            let name = file.file_name().ok_or_else(|| ApplyError::NoName(file.content_location.clone()))?;
            let path = PathBuf::from(name);
            if path.symlink_metadata().is_ok() { Err(ApplyError::Exists(path)) } else { Ok(path) }
        }
    }
}

fn md5_of(path: &Path) -> io::Result<[u8; 16]> {
    let mut file = File::open(path)?;
    let mut hash = md5::Context::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().0),
            count => hash.consume(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{FilterMode, FilterOptions};
    use crate::receive::Trust;
    use fleetcast_protocol::channel::Channel;
    use fleetcast_protocol::partition::Partition;
    use std::fs;
    use std::net::Ipv4Addr;

    const CONTENT: &[u8] = b"sixteen bytes ..and a few more";

    fn file(md5: Option<[u8; 16]>, location: &str) -> UnsignedFile {
        let partition = Partition::new(CONTENT.len() as u64, 16, 1).unwrap();
        UnsignedFile { tsi: 1, toi: 1, content_location: location.into(), partition, content_md5: md5 }
    }

    struct Receiver {
        folder: tempfile::TempDir,
        options: Options,
        state: State,
    }

    impl Receiver {
        fn new(apply: Apply, out: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let group = Ipv4Addr::new(239, 1, 2, 3).into();
            let options = Options {
                channel: Channel::new(None, group, 5000).unwrap(),
                interface: String::new(),
                filter: FilterOptions { mode: FilterMode::Off, exclusive: false },
                tsi: None,
                trust: Trust::Nobody,
                state: folder.path().join("state"),
                out: out.map(|name| folder.path().join(name)),
                apply,
                feedback: false,
                once: true,
                timeout: None,
                repair: None,
                fleet_report: None,
                json: true,
            };
            let state = State::open(&options.state).unwrap();
            Self { folder, options, state }
        }

        fn receive(&self, file: &UnsignedFile) -> Result<PathBuf, ReceiveError> {
            let staging = stage(&self.options, &self.state, file)?;
            let mut symbols: Vec<(u64, &[u8])> = (0..).step_by(16).zip(CONTENT.chunks(16)).collect();
            staging.store(&mut symbols).unwrap();
            finish(&self.options, &self.state, file, &staging, &[0; 32])
        }
    }

    #[test]
    fn the_md5_of_the_fdt_decides() {
        let receiver = Receiver::new(Apply::File, Some("out.bin"));
        let wrong = receiver.receive(&file(Some([1; 16]), "a")).unwrap_err();
        assert!(matches!(wrong, ReceiveError::Md5 { .. }), "{wrong}");
        assert!(!receiver.folder.path().join("out.bin").exists());
        let out = receiver.receive(&file(Some(md5::compute(CONTENT).0), "a")).unwrap();
        assert_eq!(fs::read(out).unwrap(), CONTENT);
    }

    #[test]
    fn policy_none_leaves_it_in_the_state_folder_apart_from_what_is_verified() {
        let receiver = Receiver::new(Apply::None, None);
        let path = receiver.receive(&file(None, "..")).unwrap();
        assert_eq!(path, receiver.options.state.join("unsigned"));
        assert_eq!(fs::read(path).unwrap(), CONTENT);
        assert!(!receiver.state.verified_path().exists() && !receiver.state.staging_path().exists());
    }

    #[test]
    fn a_name_of_the_sender_s_choice_replaces_nothing_and_leads_nowhere() {
        let receiver = Receiver::new(Apply::File, None);
        // The working folder of this test is the crate's.
        let existing = receiver.receive(&file(None, "http://example.com/Cargo.toml")).unwrap_err();
        assert!(matches!(existing, ReceiveError::Apply(ApplyError::Exists(_))), "{existing}");
        for location in ["..", "a/", ".hidden", ""] {
            let error = receiver.receive(&file(None, location)).unwrap_err();
            assert!(matches!(error, ReceiveError::Apply(ApplyError::NoName(_))), "{location}: {error}");
        }
        let name = format!("unsigned-{}.bin", std::process::id());
        let path = receiver.receive(&file(None, &format!("file:///etc/../{name}"))).unwrap();
        let content = fs::read(&path);
        let _ = fs::remove_file(&path);
        assert_eq!((path, content.unwrap()), (PathBuf::from(name), CONTENT.to_vec()));
    }

    #[test]
    fn an_unfinished_file_is_not_resumed() {
        let receiver = Receiver::new(Apply::None, None);
        let staging = stage(&receiver.options, &receiver.state, &file(None, "a")).unwrap();
        staging.store(&mut vec![(0, &CONTENT[..16])]).unwrap();
        let staging = stage(&receiver.options, &receiver.state, &file(None, "a")).unwrap();
        assert!(fs::read(staging.path()).unwrap().iter().all(|byte| *byte == 0));
    }
}
