//! Policy `exec`: a hook gets the verified image and says by its exit status whether it took it.
//!
//! The hook runs as `/bin/sh -c COMMAND` with the receiver's environment and these variables:
//!
//! | variable | content |
//! |---|---|
//! | `FLEETCAST_IMAGE` | path of the verified image, absolute |
//! | `FLEETCAST_LENGTH` | its length in bytes |
//! | `FLEETCAST_SHA256` | its SHA-256 in hex |
//! | `FLEETCAST_NAME` | the image's name |
//! | `FLEETCAST_PRODUCT` | product id |
//! | `FLEETCAST_HARDWARE` | the hardware ids it is for, separated by spaces |
//! | `FLEETCAST_VERSION` | version text |
//! | `FLEETCAST_SEQUENCE` | sequence |
//! | `FLEETCAST_MANIFEST` | SHA-256 of the signed manifest, in hex |
//!
//! When it succeeds and `--out` is given, the image then gets that name, unless the hook has moved it away.
//!
//! Its standard output goes to the receiver's standard error, so that `--json` stays one event a line.

use super::ApplyError;
use fleetcast_protocol::hex;
use fleetcast_protocol::manifest::SignedManifest;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the hook on the image at `image` and waits for it.
pub fn run(command: &str, image: &Path, manifest: &SignedManifest) -> Result<(), ApplyError> {
    let content = manifest.manifest();
    let spawn_error = |source| ApplyError::Spawn { command: command.to_owned(), source };
    let image = std::path::absolute(image).map_err(spawn_error)?;
    let status = Command::new("/bin/sh")
        .args(["-c", command])
        .env("FLEETCAST_IMAGE", image)
        .env("FLEETCAST_LENGTH", content.partition.image_len().to_string())
        .env("FLEETCAST_SHA256", hex::encode(&content.image_sha256))
        .env("FLEETCAST_NAME", &content.name)
        .env("FLEETCAST_PRODUCT", &content.product)
        .env("FLEETCAST_HARDWARE", content.hardware.join(" "))
        .env("FLEETCAST_VERSION", &content.version)
        .env("FLEETCAST_SEQUENCE", content.sequence.to_string())
        .env("FLEETCAST_MANIFEST", hex::encode(&manifest.digest()))
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(spawn_error)?;
    if status.success() {
        Ok(())
    } else {
        Err(ApplyError::Hook { command: command.to_owned(), status: status.to_string() })
    }
}
