//! Why there is no filter.

use crate::interface::Mode;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use thiserror::Error;

/// Why there is no filter, or it cannot be asked.
#[derive(Debug, Error)]
pub enum FilterError {
    /// Nothing that could be filtered by source.
    #[error("({source_address},{group}) is no channel: a unicast source and a multicast group of one family make one")]
    NoChannel {
        /// Source asked for.
        source_address: IpAddr,
        /// Group asked for.
        group: IpAddr,
    },
    /// The process may not.
    #[error("{what} needs the capabilities {needs} ({source}); as a service: AmbientCapabilities={needs}")]
    NotPermitted {
        /// What was tried.
        what: &'static str,
        /// Capabilities, with spaces between.
        needs: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The driver cannot.
    #[error(
        "the driver of '{interface}' takes no native XDP program ({reason}), and generic mode is refused: there the kernel \
         has built its packet already, which is most of what a filter saves, and shows super-packets of up to 64 KiB as one"
    )]
    NoNativeMode {
        /// Interface name.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
    /// Somebody else's program is there.
    #[error("'{interface}' has an XDP program already: {occupant}; it stays, whoever attached it must detach it")]
    Occupied {
        /// Interface name.
        interface: String,
        /// The program.
        occupant: Occupant,
    },
    /// bpf_link for XDP is missing.
    #[error(
        "this kernel (before 5.9) attaches XDP programs so that they stay when their process is killed; not attaching one"
    )]
    NoLink,
    /// A map is full.
    #[error("the filter has no room for one more {what}: {most} fit")]
    Full {
        /// Group or channel.
        what: &'static str,
        /// How many fit.
        most: u32,
    },
    /// The kernel does not tell about its interfaces.
    #[error("cannot ask the kernel about interfaces: {0}")]
    Interfaces(io::Error),
    /// Anything else that the kernel refuses.
    #[error("cannot {what}: {reason}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The kernel's reason, with what the loader says of it.
        reason: String,
    },
}

/// An XDP program on an interface, as far as this process may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    /// The kernel's number of the program.
    pub program_id: u32,
    /// Its name, up to 15 characters; unknown without CAP_SYS_ADMIN.
    pub name: Option<String>,
    /// How it is attached.
    pub mode: Mode,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {}, {} mode, ", self.program_id, self.mode)?;
        match &self.name {
            Some(name) if name.is_empty() => write!(f, "without a name"),
            Some(name) => write!(f, "named '{name}'"),
            None => write!(f, "whose name CAP_SYS_ADMIN would show (`bpftool prog show id {}`)", self.program_id),
        }
    }
}

/// Names what was tried; an error of permission says which capabilities would do.
pub(crate) fn failed<E: Error + 'static>(what: &'static str, needs: &'static str) -> impl FnOnce(E) -> FilterError {
    move |error| match io_error(&error) {
        // EACCES is the verifier's: the program is wrong, not the process.
        Some(source) if source.raw_os_error() == Some(libc::EPERM) => FilterError::NotPermitted { what, needs, source },
        _ => FilterError::Kernel { what, reason: chain(&error) },
    }
}

/// The errno beneath, if there is one.
pub(crate) fn io_error(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let mut errnos = causes.filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error());
    errnos.next().map(io::Error::from_raw_os_error)
}

/// With the causes beneath: the kernel's reason is the innermost.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut causes: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |error| (*error).source()) {
        let cause = error.to_string();
        // Some errors print their cause themselves.
        if !causes.iter().any(|said| said.contains(&cause)) {
            causes.push(cause);
        }
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    #[error("the loader failed")]
    struct Loader(#[source] io::Error);

    #[test]
    fn permission_names_the_capabilities_and_others_the_reason() {
        let refused = failed("load the filter", "CAP_BPF")(Loader(io::Error::from_raw_os_error(libc::EPERM)));
        assert!(refused.to_string().contains("CAP_BPF"), "{refused}");
        let other = failed("load the filter", "CAP_BPF")(Loader(io::Error::from_raw_os_error(libc::E2BIG)));
        assert!(other.to_string().contains("the loader failed: Argument list too long"), "{other}");
    }

    #[test]
    fn an_occupant_is_named_as_far_as_known() {
        let mut occupant = Occupant { program_id: 7, name: Some("shaper".into()), mode: Mode::Generic };
        assert_eq!(occupant.to_string(), "number 7, generic mode, named 'shaper'");
        occupant.name = None;
        assert!(occupant.to_string().contains("bpftool prog show id 7"));
    }
}
