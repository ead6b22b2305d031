//! Reading an FDT from anyone: bounded in every direction, no DTD, no recursion, unknown elements and attributes ignored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::{Fdt, FdtError, FdtFile, FdtOti, MAX_ATTRIBUTE_LEN, MAX_ATTRIBUTES, MAX_FDT_LEN, MAX_FILES, name};
use crate::wire::{FecId, NoCodeOti, RaptorQOti, WireError};

/// Deepest nesting of elements; private ones may lie inside a File.
const MAX_DEPTH: usize = 16;
/// Characters of a bad value that an error repeats.
const SHOWN_CHARS: usize = 40;

impl Fdt {
    /// Reads the XML of an FDT instance, at most [`MAX_FDT_LEN`] bytes.
    ///
    /// The instance id is not in the XML: the result has 0, set it from EXT_FDT. Attributes of `FDT-Instance` are the
    /// defaults of its files. The namespace may be RFC 6726's, an older one, or none: files are the `File` elements in
    /// the namespace of the root. Numbers that are none, in attributes that are read, are errors; a file whose FEC
    /// parameters are incomplete has no `oti`.
    pub fn parse(xml: &[u8]) -> Result<Self, FdtError> {
        if xml.len() > MAX_FDT_LEN {
            return Err(FdtError::TooLong(xml.len()));
        }
        let text = str::from_utf8(xml).map_err(|e| FdtError::NotUtf8(e.valid_up_to()))?;
        let mut reader = NsReader::from_str(text);
        let mut table = Table::default();
        loop {
            let position = reader.buffer_position();
            let (namespace, event) = reader.read_resolved_event().map_err(|e| malformed(position, e))?;
            match event {
                Event::Start(element) => {
                    table.element(&namespace, &element, position)?;
                    table.depth += 1;
                }
                Event::Empty(element) => table.element(&namespace, &element, position)?,
                Event::End(_) => table.depth = table.depth.saturating_sub(1),
                Event::DocType(_) => return Err(FdtError::Dtd),
                Event::GeneralRef(entity) => {
                    if !entity.is_char_ref() && resolve_predefined_entity(&entity).is_none() {
                        return Err(FdtError::Dtd);
                    }
                }
                Event::Eof => return table.finish(position),
                Event::Text(_) | Event::CData(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }
}

fn malformed(position: u64, reason: impl ToString) -> FdtError {
    // The reason may quote the document: no control characters of a stranger in our logs.
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    FdtError::Xml { position, reason: reason.to_string().chars().take(2 * SHOWN_CHARS).map(printable).collect() }
}

/// What has been read so far.
#[derive(Default)]
struct Table {
    depth: usize,
    root: Option<Root>,
    files: Vec<FdtFile>,
}

struct Root {
    namespace: Option<String>,
    attributes: Attributes,
    expires_ntp_s: u64,
    complete: bool,
}

impl Table {
    fn element(
        &mut self,
        namespace: &ResolveResult<'_>,
        element: &BytesStart<'_>,
        position: u64,
    ) -> Result<(), FdtError> {
        let namespace = match namespace {
            ResolveResult::Bound(namespace) => Some(namespace.0),
            ResolveResult::Unbound => None,
            ResolveResult::Unknown(_) => return Err(malformed(position, "a namespace prefix is not declared")),
        };
        match (self.depth, &self.root) {
            (0, None) => {
                if element.local_name().as_ref() != name::INSTANCE {
                    return Err(FdtError::NotAnFdt);
                }
                let attributes = Attributes::read(element, position)?;
                self.root = Some(Root::new(namespace.map(str::to_owned), attributes)?);
            }
            (0, Some(_)) => return Err(malformed(position, "there is a second root element")),
            (1, Some(root))
                if element.local_name().as_ref() == name::FILE && root.namespace.as_deref() == namespace =>
            {
                if self.files.len() >= MAX_FILES {
                    return Err(FdtError::TooManyFiles);
                }
                let file = Attributes::read(element, position)?.or(&root.attributes).file()?;
                if self.files.iter().any(|other| other.toi == file.toi) {
                    return Err(FdtError::DuplicateToi(file.toi));
                }
                self.files.push(file);
            }
            (MAX_DEPTH.., _) => return Err(FdtError::TooDeep),
            _ => {}
        }
        Ok(())
    }

    fn finish(self, position: u64) -> Result<Fdt, FdtError> {
        let root = self.root.ok_or(FdtError::NotAnFdt)?;
        if self.depth > 0 {
            return Err(malformed(position, "it ends before its last element does"));
        }
        Ok(Fdt { instance_id: 0, expires_ntp_s: root.expires_ntp_s, complete: root.complete, files: self.files })
    }
}

impl Root {
    fn new(namespace: Option<String>, attributes: Attributes) -> Result<Self, FdtError> {
        let expires = attributes.get(name::EXPIRES);
        let missing = FdtError::Missing { element: name::INSTANCE, attribute: name::EXPIRES };
        let expires_ntp_s = number(name::EXPIRES, expires)?.ok_or(missing)?;
        let complete = match attributes.get(name::COMPLETE) {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => return Err(bad_value(name::COMPLETE, other)),
        };
        Ok(Self { namespace, attributes, expires_ntp_s, complete })
    }
}

/// The attributes that are read, in the order of their slots.
const READ: [&str; 13] = [
    name::EXPIRES,
    name::COMPLETE,
    name::CONTENT_LOCATION,
    name::TOI,
    name::CONTENT_LENGTH,
    name::TRANSFER_LENGTH,
    name::CONTENT_MD5,
    name::CONTENT_TYPE,
    name::CONTENT_ENCODING,
    name::FEC_ENCODING_ID,
    name::SYMBOL_LENGTH,
    name::MAX_BLOCK_LENGTH,
    name::SCHEME_SPECIFIC_INFO,
];
/// From here on the attributes of FDT-Instance hold for its files as well (RFC 6726 §3.4.2).
const FIRST_SHARED: usize = 7;

/// The attributes of one element that are read; whitespace around the values is gone.
#[derive(Default)]
struct Attributes {
    values: [Option<String>; READ.len()],
}

impl Attributes {
    fn read(element: &BytesStart<'_>, position: u64) -> Result<Self, FdtError> {
        let mut read = Self::default();
        for (n, attribute) in element.attributes().enumerate() {
            // The check for duplicates compares each with all before it, so their number is bounded.
            if n >= MAX_ATTRIBUTES {
                return Err(FdtError::TooManyAttributes);
            }
            let attribute = attribute.map_err(|e| malformed(position, e))?;
            let known = READ.iter().zip(&mut read.values).find(|(name, _)| attribute.key.as_ref() == **name);
            let Some((&name, slot)) = known else { continue };
            if attribute.value.len() > MAX_ATTRIBUTE_LEN {
                return Err(FdtError::AttributeTooLong { attribute: name, len: attribute.value.len() });
            }
            let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|e| malformed(position, e))?;
            // The last two are no characters of XML 1.0.
            if value.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
                return Err(bad_value(name, &value));
            }
            *slot = Some(value.trim_matches(' ').to_owned());
        }
        Ok(read)
    }

    /// Takes what is missing, and may be shared, from the FDT-Instance.
    fn or(mut self, instance: &Self) -> Self {
        for (own, shared) in self.values.iter_mut().zip(&instance.values).skip(FIRST_SHARED) {
            if own.is_none() {
                own.clone_from(shared);
            }
        }
        self
    }

    fn get(&self, name: &str) -> Option<&str> {
        READ.iter().zip(&self.values).find(|(n, _)| **n == name).and_then(|(_, value)| value.as_deref())
    }

    fn number<N: TryFrom<u64>>(&self, name: &'static str) -> Result<Option<N>, FdtError> {
        number(name, self.get(name))
    }

    fn file(&self) -> Result<FdtFile, FdtError> {
        let missing = |attribute| FdtError::Missing { element: name::FILE, attribute };
        let toi = self.number(name::TOI)?.ok_or(missing(name::TOI))?;
        if toi == 0 {
            return Err(bad_value(name::TOI, "0"));
        }
        let content_location = self.get(name::CONTENT_LOCATION).ok_or(missing(name::CONTENT_LOCATION))?.to_owned();
        let content_length = self.number(name::CONTENT_LENGTH)?;
        let transfer_length = self.number(name::TRANSFER_LENGTH)?;
        // Without content encoding both lengths are the same (RFC 6726 §3.4.2).
        let content_encoding = self.get(name::CONTENT_ENCODING).filter(|encoding| !matches!(*encoding, "" | "null"));
        let coded_length = transfer_length.or(if content_encoding.is_some() { None } else { content_length });
        let content_type = self.get(name::CONTENT_TYPE).map(str::to_owned);
        let oti = self.oti(toi, coded_length)?;
        Ok(FdtFile {
            toi,
            content_location,
            content_length,
            transfer_length,
            content_type,
            content_encoding: content_encoding.map(str::to_owned),
            content_md5: self.md5()?,
            oti,
        })
    }

    /// Base64 of 16 bytes (RFC 6726 §3.4.2).
    fn md5(&self) -> Result<Option<[u8; 16]>, FdtError> {
        let Some(value) = self.get(name::CONTENT_MD5) else { return Ok(None) };
        let md5 = STANDARD.decode(value).ok().and_then(|bytes| bytes.try_into().ok());
        md5.map(Some).ok_or_else(|| bad_value(name::CONTENT_MD5, value))
    }

    fn oti(&self, toi: u64, transfer_length: Option<u64>) -> Result<Option<FdtOti>, FdtError> {
        let Some(encoding_id) = self.number(name::FEC_ENCODING_ID)? else { return Ok(None) };
        let Some(scheme) = FecId::from_codepoint(encoding_id) else { return Ok(Some(FdtOti::Other(encoding_id))) };
        let Some(transfer_length) = transfer_length else { return Ok(None) };
        let symbol_size = self.number(name::SYMBOL_LENGTH)?;
        let max_block_len = self.number(name::MAX_BLOCK_LENGTH)?;
        let invalid = |source| FdtError::Oti { toi, source };
        match (scheme, symbol_size, max_block_len, self.get(name::SCHEME_SPECIFIC_INFO)) {
            (FecId::NoCode, Some(symbol_size), Some(max_block_len), _) => {
                let oti = NoCodeOti { transfer_length, symbol_size, max_block_len };
                oti.check().map_err(invalid)?;
                Ok(Some(FdtOti::NoCode(oti)))
            }
            (FecId::RaptorQ, Some(symbol_size), max_block_len, Some(info)) => {
                let oti = RaptorQOti::from_fdt(transfer_length, symbol_size, info).map_err(invalid)?;
                let max_block_len = match max_block_len {
                    Some(given) => given,
                    None => u32::try_from(oti.max_block_len()).map_err(|_| invalid(block_too_long(&oti)))?,
                };
                Ok(Some(FdtOti::RaptorQ { oti, max_block_len }))
            }
            _ => Ok(None),
        }
    }
}

fn block_too_long(oti: &RaptorQOti) -> WireError {
    WireError::Oti { field: "symbols of a source block", value: oti.max_block_len() }
}

fn number<N: TryFrom<u64>>(attribute: &'static str, value: Option<&str>) -> Result<Option<N>, FdtError> {
    let Some(value) = value else { return Ok(None) };
    let parsed = value.parse::<u64>().ok().and_then(|number| N::try_from(number).ok());
    parsed.map(Some).ok_or_else(|| bad_value(attribute, value))
}

fn bad_value(attribute: &'static str, value: &str) -> FdtError {
    FdtError::Value { attribute, value: value.chars().take(SHOWN_CHARS).collect() }
}
