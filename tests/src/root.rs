//! May and can this process build a lab?

use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::thread;

use crate::LabError;

/// Set by CI: what cannot run is then a failure, not a skip.
pub const REQUIRE_LAB: &str = "FLEETCAST_REQUIRE_LAB";

const TOOLS: [&str; 3] = ["ip", "bridge", "ethtool"];

/// Checks that a lab can be built.
///
/// # Errors
/// [`LabError::Unfit`] says what is missing and what to do about it.
pub fn check() -> Result<(), LabError> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::Unfit(
            "it needs root, to create network namespaces, veth pairs and a bridge, and to load an XDP program; run it as \
             root or with sudo (nothing outside the namespaces is changed)"
                .into(),
        ));
    }
    let missing: Vec<_> = TOOLS.into_iter().filter(|tool| !is_installed(tool)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(LabError::Unfit(format!("{} not found; run scripts/setup to install", missing.join(", "))))
    }
}

fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(Path::new(OsStr::new(tool))).is_file())
}

/// Says, past the test harness's capture of output, that the running test does not run.
///
/// # Panics
/// Where a lab is required ([`REQUIRE_LAB`]): CI must never take a skipped test for a passed one.
pub fn skip(why: &LabError) {
    // The harness names a test's thread after the test.
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(env::var_os(REQUIRE_LAB).is_none(), "{test} must run here ({REQUIRE_LAB} is set), but {why}");
    // Not eprintln: the harness would swallow it, because the test counts as passed.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Returns from a test, visibly, where no lab can be built.
#[macro_export]
macro_rules! skip_without_lab {
    () => {
        if let Err(why) = $crate::root::check() {
            $crate::root::skip(&why);
            return;
        }
    };
}

/// Gives the lab that a test asks for, or returns from the test, visibly.
#[macro_export]
macro_rules! lab_or_skip {
    ($config:expr) => {{
        $crate::skip_without_lab!();
        $crate::lab::Lab::new($config).expect("the lab could not be built")
    }};
}
