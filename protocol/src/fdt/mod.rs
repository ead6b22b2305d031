//! The file delivery table of FLUTE (RFC 6726 §3.2 and §3.4.2): an XML document that names the objects of a session.
//!
//! We send one so that receivers other than ours know what TOI 2 is and how it is coded. Our own receiver reads it for
//! the same reason when the sender is another's; the FDT is unsigned, so nothing that matters may rest on it.

use thiserror::Error;

use crate::partition::Partition;
use crate::wire::{FecId, NoCodeOti, RaptorQOti, WireError};

mod read;
#[cfg(test)]
mod tests;
mod write;

/// Longest FDT that is read, in bytes.
pub const MAX_FDT_LEN: usize = 256 * 1024;
/// Most files that an FDT may describe.
pub const MAX_FILES: usize = 64;
/// Most attributes of an `FDT-Instance` or `File` element.
pub const MAX_ATTRIBUTES: usize = 64;
/// Longest value in bytes of an attribute that is read.
pub const MAX_ATTRIBUTE_LEN: usize = 4096;

/// The elements and attributes of an FDT that are written and read.
mod name {
    pub const INSTANCE: &str = "FDT-Instance";
    pub const FILE: &str = "File";
    pub const EXPIRES: &str = "Expires";
    pub const COMPLETE: &str = "Complete";
    pub const CONTENT_LOCATION: &str = "Content-Location";
    pub const TOI: &str = "TOI";
    pub const CONTENT_LENGTH: &str = "Content-Length";
    pub const TRANSFER_LENGTH: &str = "Transfer-Length";
    pub const CONTENT_TYPE: &str = "Content-Type";
    pub const CONTENT_ENCODING: &str = "Content-Encoding";
    pub const CONTENT_MD5: &str = "Content-MD5";
    pub const FEC_ENCODING_ID: &str = "FEC-OTI-FEC-Encoding-ID";
    pub const SYMBOL_LENGTH: &str = "FEC-OTI-Encoding-Symbol-Length";
    pub const MAX_BLOCK_LENGTH: &str = "FEC-OTI-Maximum-Source-Block-Length";
    pub const SCHEME_SPECIFIC_INFO: &str = "FEC-OTI-Scheme-Specific-Info";
}

/// Why bytes are no FDT that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FdtError {
    /// Longer than [`MAX_FDT_LEN`].
    #[error("the FDT has {0} bytes, more than {MAX_FDT_LEN}; let the sender describe fewer files")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the FDT is not UTF-8 from byte {0} on; a compressed FDT is not supported: let the sender send it plain")]
    NotUtf8(usize),
    /// Not well-formed XML.
    #[error("the FDT is not well-formed XML near byte {position}: {reason}; check the sender")]
    Xml {
        /// Byte offset at which the offending piece starts.
        position: u64,
        /// What the XML reader found.
        reason: String,
    },
    /// A document type definition, or an entity that needs one.
    #[error("the FDT uses a DTD or an entity of its own, which is refused; check who sends it")]
    Dtd,
    /// Elements nested more deeply than any FDT needs.
    #[error("the FDT nests its elements too deeply; check who sends it")]
    TooDeep,
    /// The root element is not `FDT-Instance`.
    #[error("the document is no FDT: its root is not FDT-Instance; check that TOI 0 carries the FDT")]
    NotAnFdt,
    /// More than [`MAX_FILES`] files.
    #[error("the FDT describes more than {MAX_FILES} files; let the sender describe fewer")]
    TooManyFiles,
    /// More than [`MAX_ATTRIBUTES`] attributes in one element.
    #[error("an element of the FDT has more than {MAX_ATTRIBUTES} attributes; check who sends it")]
    TooManyAttributes,
    /// A value longer than [`MAX_ATTRIBUTE_LEN`].
    #[error(
        "attribute {attribute} of the FDT has {len} bytes, more than {MAX_ATTRIBUTE_LEN}; let the sender shorten it"
    )]
    AttributeTooLong {
        /// Name of the attribute.
        attribute: &'static str,
        /// Bytes of its value.
        len: usize,
    },
    /// A required attribute is not there.
    #[error("the FDT lacks attribute {attribute} of {element}; let the sender give it")]
    Missing {
        /// Name of the element.
        element: &'static str,
        /// Name of the attribute.
        attribute: &'static str,
    },
    /// A value that is no number in the attribute's range, no boolean, no MD5, or contains control characters.
    #[error("attribute {attribute} of the FDT cannot be {value:?}; check the sender")]
    Value {
        /// Name of the attribute.
        attribute: &'static str,
        /// The value, shortened.
        value: String,
    },
    /// Two files with one TOI.
    #[error("the FDT describes TOI {0} twice; let the sender describe each object once")]
    DuplicateToi(u64),
    /// FEC object transmission information that contradicts the standard.
    #[error("the FDT's FEC parameters of TOI {toi} cannot be: {source}")]
    Oti {
        /// The file's TOI.
        toi: u64,
        /// What is wrong with them.
        source: WireError,
    },
}

/// One FDT instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fdt {
    /// FDT instance id, 20 bits. It travels in EXT_FDT and is no part of the XML.
    pub instance_id: u32,
    /// When the instance expires, in NTP seconds (since 1900). The XML carries it modulo 2^32 (RFC 6726 §3.3).
    pub expires_ntp_s: u64,
    /// Whether no later instance describes further files.
    pub complete: bool,
    /// The objects of the session, each with a TOI of its own.
    pub files: Vec<FdtFile>,
}

/// One object of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdtFile {
    /// Transport object id, never 0.
    pub toi: u64,
    /// URI that names the file. Only a name: never use it as a path.
    pub content_location: String,
    /// Length of the file in bytes.
    pub content_length: Option<u64>,
    /// Length in bytes of what is transported; differs from the file's when that is compressed.
    pub transfer_length: Option<u64>,
    /// Media type.
    pub content_type: Option<String>,
    /// How the content is compressed for transport; `None` when it is not.
    pub content_encoding: Option<String>,
    /// MD5 of the content: finds accidents, proves nothing.
    pub content_md5: Option<[u8; 16]>,
    /// How the object is coded, when the FDT says so completely or the scheme is not one of ours.
    pub oti: Option<FdtOti>,
}

/// The FEC object transmission information of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdtOti {
    /// FEC Encoding ID 6.
    RaptorQ {
        /// F, T, Z, N, Al.
        oti: RaptorQOti,
        /// FEC-OTI-Maximum-Source-Block-Length in symbols. Redundant: some receivers need it, and some senders give one
        /// that contradicts Z, so partition by Z.
        max_block_len: u32,
    },
    /// FEC Encoding ID 0.
    NoCode(NoCodeOti),
    /// Another FEC Encoding ID.
    Other(u8),
}

impl FdtOti {
    /// RaptorQ over a partition: the maximum source block length is ceil(Kt / Z).
    pub fn raptorq(partition: &Partition) -> Self {
        Self::RaptorQ { oti: partition.into(), max_block_len: partition.largest_k() }
    }

    /// FEC Encoding ID.
    pub fn encoding_id(&self) -> u8 {
        match self {
            Self::RaptorQ { .. } => FecId::RaptorQ.codepoint(),
            Self::NoCode(_) => FecId::NoCode.codepoint(),
            Self::Other(id) => *id,
        }
    }
}
