//! One file of an FDT, as far as this receiver can receive it.

use crate::fdt::{Fdt, FdtFile, FdtOti};
use crate::partition::{Partition, PartitionError};
use crate::wire::NoCodeOti;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use thiserror::Error;

/// Longest name that file systems take, in bytes.
const MAX_NAME_LEN: usize = 255;
/// Characters of a value that an error repeats.
const SHOWN_CHARS: usize = 80;

/// Why a file of an FDT cannot be received.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnsignedError {
    /// There is none.
    #[error("the FDT describes no file; let the sender add one")]
    NoFile,
    /// It is compressed.
    #[error("TOI {toi} is compressed ({encoding}), which is not supported; let the sender send it as it is")]
    Compressed {
        /// The file's TOI.
        toi: u64,
        /// Its Content-Encoding.
        encoding: String,
    },
    /// Content-Length and Transfer-Length differ although it is not compressed.
    #[error(
        "the FDT gives TOI {toi} two lengths, {content} and {transfer}, without a content encoding; check the sender"
    )]
    Lengths {
        /// The file's TOI.
        toi: u64,
        /// Content-Length.
        content: u64,
        /// Transfer-Length.
        transfer: u64,
    },
    /// Nothing says how to decode it.
    #[error("the FDT does not say how TOI {0} is coded and how long it is; let the sender give its FEC-OTI attributes")]
    NoOti(u64),
    /// The scheme is not one of ours.
    #[error("TOI {toi} is coded with FEC Encoding ID {id}; only 6 (RaptorQ) and 0 (no-code) can be decoded")]
    Scheme {
        /// The file's TOI.
        toi: u64,
        /// FEC Encoding ID.
        id: u8,
    },
    /// Sub-blocks.
    #[error("TOI {toi} has {sub_blocks} sub-blocks in a block; only N = 1 can be decoded")]
    SubBlocks {
        /// The file's TOI.
        toi: u64,
        /// N.
        sub_blocks: u16,
    },
    /// Length, symbol size and number of blocks do not go together, or not with what this receiver can decode.
    #[error("TOI {toi} cannot be decoded: {source}")]
    Partition {
        /// The file's TOI.
        toi: u64,
        /// What is wrong.
        source: PartitionError,
    },
}

/// A file that can be received. Whoever sends to the group has written every field of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedFile {
    /// The session that sends it.
    pub tsi: u64,
    /// Its object there.
    pub toi: u64,
    /// URI that names it: for people, never a path.
    pub content_location: String,
    /// Length, and how it lies in source blocks.
    pub partition: Partition,
    /// MD5 of the content, when the FDT gives it.
    pub content_md5: Option<[u8; 16]>,
}

impl UnsignedFile {
    /// The longest file of the FDT of session `tsi` that can be received; an error says why the longest one cannot be.
    pub fn choose(fdt: &Fdt, tsi: u64) -> Result<Self, UnsignedError> {
        let mut files: Vec<_> = fdt.files.iter().collect();
        files.sort_by_key(|file| Reverse(file.transfer_length.or(file.content_length)));
        let mut readings = files.into_iter().map(|file| Self::new(file, tsi));
        let first = readings.next().unwrap_or(Err(UnsignedError::NoFile));
        first.or_else(|error| readings.find_map(Result::ok).ok_or(error))
    }

    fn new(file: &FdtFile, tsi: u64) -> Result<Self, UnsignedError> {
        let toi = file.toi;
        if let Some(encoding) = &file.content_encoding {
            return Err(UnsignedError::Compressed { toi, encoding: shown(encoding) });
        }
        if let (Some(content), Some(transfer)) = (file.content_length, file.transfer_length)
            && content != transfer
        {
            return Err(UnsignedError::Lengths { toi, content, transfer });
        }
        let partition = match &file.oti {
            None => return Err(UnsignedError::NoOti(toi)),
            Some(FdtOti::Other(id)) => return Err(UnsignedError::Scheme { toi, id: *id }),
            // Z decides: the maximum source block length of some senders contradicts it.
            Some(FdtOti::RaptorQ { oti, .. }) if oti.sub_blocks == 1 => {
                Partition::new(oti.transfer_length, oti.symbol_size, u16::from(oti.blocks))
            }
            Some(FdtOti::RaptorQ { oti, .. }) => {
                return Err(UnsignedError::SubBlocks { toi, sub_blocks: oti.sub_blocks });
            }
            Some(FdtOti::NoCode(oti)) => no_code_partition(oti),
        };
        Ok(Self {
            tsi,
            toi,
            content_location: file.content_location.clone(),
            partition: partition.map_err(|source| UnsignedError::Partition { toi, source })?,
            content_md5: file.content_md5,
        })
    }

    /// What tells it from other files: everything that the FDT says of it, and the session.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"fleetcast unsigned file 1");
        let partition = &self.partition;
        for number in
            [self.tsi, self.toi, partition.image_len(), partition.symbol_size().into(), partition.blocks().into()]
        {
            hash.update(number.to_be_bytes());
        }
        hash.update(self.content_md5.map_or([0; 17], |md5| {
            let mut present = [1; 17];
            present[1..].copy_from_slice(&md5);
            present
        }));
        hash.update(&self.content_location);
        hash.finalize().into()
    }

    /// The last part of the Content-Location's path, when it is a name that can be given to a file of the working folder:
    /// no path, not hidden, no control characters.
    pub fn file_name(&self) -> Option<String> {
        let path = self.content_location.split(['?', '#']).next()?;
        let decoded = percent_decoded(path)?;
        let name = decoded.rsplit(['/', '\\']).next()?;
        let is_plain = !name.is_empty() && name.len() <= MAX_NAME_LEN && !name.starts_with('.');
        (is_plain && !name.chars().any(char::is_control)).then(|| name.to_owned())
    }
}

/// RFC 5052 §9.1's partition is RFC 6330's with Z = ceil(Kt / B).
fn no_code_partition(oti: &NoCodeOti) -> Result<Partition, PartitionError> {
    let blocks = oti.total_symbols().div_ceil(u64::from(oti.max_block_len.max(1)));
    Partition::new(oti.transfer_length, oti.symbol_size, u16::try_from(blocks).unwrap_or(u16::MAX))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// RFC 3986 §2.1; `None` when it is malformed or not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        bytes.push(value(digits[0])? << 4 | value(digits[1])?);
    }
    String::from_utf8(bytes).ok()
}
