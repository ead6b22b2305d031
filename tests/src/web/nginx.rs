//! The real nginx, with the configuration of `docs/nginx.conf`, in a folder of its own: the host's service is not touched.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::namespace::Namespace;
use crate::process::Process;
use crate::{LabError, interrupt};

/// The port in `docs/nginx.conf`.
const PORT: u16 = 8080;
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running nginx, ended on drop.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    _process: Process,
}

impl Nginx {
    /// Serves the files in `images`, an existing folder, in `namespace` at `address`; its own files go to `prefix`.
    ///
    /// # Errors
    /// When nginx is not installed, or does not accept connections within some seconds.
    pub fn start(namespace: &Namespace, address: IpAddr, prefix: &Path, images: &Path) -> Result<Self, LabError> {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/nginx.conf");
        std::fs::create_dir_all(prefix).map_err(LabError::io(format!("make {}", prefix.display())))?;
        let link = prefix.join("images");
        if !link.exists() {
            std::os::unix::fs::symlink(images, &link).map_err(LabError::io(format!("make {}", link.display())))?;
        }
        let mut command = namespace.command("nginx");
        // One process, so that it ends as a whole with the test.
        command.arg("-p").arg(prefix).arg("-c").arg(&config).args(["-g", "daemon off; master_process off;"]);
        let process = Process::spawn("nginx", command)?;
        let address = SocketAddr::new(address, PORT);
        await_accepting(namespace, address)?;
        Ok(Self { address, _process: process })
    }

    /// The URL of the folder that it serves.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Waits until a server in `namespace` takes connections.
pub(super) fn await_accepting(namespace: &Namespace, address: SocketAddr) -> Result<(), LabError> {
    let deadline = Instant::now() + START_TIMEOUT;
    while namespace.enter(|| TcpStream::connect(address))?.is_err() {
        interrupt::check()?;
        if Instant::now() > deadline {
            return Err(LabError::Timeout { what: format!("a server at {address}"), waited: START_TIMEOUT });
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
