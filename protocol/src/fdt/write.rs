//! Writing an FDT. The same table always gives the same bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Display;

use super::{Fdt, FdtFile, FdtOti, name};

/// Namespace of RFC 6726 §8.1.
const NAMESPACE: &str = "urn:ietf:params:xml:ns:fdt";

impl Fdt {
    /// The XML document. Control characters, which no URI or media type has, become U+FFFD.
    pub fn to_xml(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        xml.push_str(name::INSTANCE);
        attribute(&mut xml, "xmlns", NAMESPACE);
        attribute(&mut xml, name::EXPIRES, self.expires_ntp_s & u64::from(u32::MAX));
        if self.complete {
            attribute(&mut xml, name::COMPLETE, true);
        }
        xml.push_str(">\n");
        for file in &self.files {
            write_file(&mut xml, file);
        }
        xml.push_str("</");
        xml.push_str(name::INSTANCE);
        xml.push_str(">\n");
        xml
    }
}

fn write_file(xml: &mut String, file: &FdtFile) {
    xml.push('<');
    xml.push_str(name::FILE);
    attribute(xml, name::CONTENT_LOCATION, &file.content_location);
    attribute(xml, name::TOI, file.toi);
    if let Some(len) = file.content_length {
        attribute(xml, name::CONTENT_LENGTH, len);
    }
    if let Some(len) = file.transfer_length {
        attribute(xml, name::TRANSFER_LENGTH, len);
    }
    if let Some(content_type) = &file.content_type {
        attribute(xml, name::CONTENT_TYPE, content_type);
    }
    if let Some(encoding) = &file.content_encoding {
        attribute(xml, name::CONTENT_ENCODING, encoding);
    }
    if let Some(md5) = &file.content_md5 {
        attribute(xml, name::CONTENT_MD5, STANDARD.encode(md5));
    }
    if let Some(oti) = &file.oti {
        write_oti(xml, oti);
    }
    xml.push_str("/>\n");
}

/// RFC 6726 §5. FEC-OTI-Max-Number-of-Encoding-Symbols is left out on purpose: older receivers underflow on it.
fn write_oti(xml: &mut String, oti: &FdtOti) {
    attribute(xml, name::FEC_ENCODING_ID, oti.encoding_id());
    match oti {
        FdtOti::RaptorQ { oti, max_block_len } => {
            attribute(xml, name::SYMBOL_LENGTH, oti.symbol_size);
            attribute(xml, name::MAX_BLOCK_LENGTH, max_block_len);
            attribute(xml, name::SCHEME_SPECIFIC_INFO, oti.scheme_specific_info());
        }
        FdtOti::NoCode(oti) => {
            attribute(xml, name::SYMBOL_LENGTH, oti.symbol_size);
            attribute(xml, name::MAX_BLOCK_LENGTH, oti.max_block_len);
        }
        FdtOti::Other(_) => {}
    }
}

fn attribute(xml: &mut String, name: &str, value: impl Display) {
    xml.push(' ');
    xml.push_str(name);
    xml.push_str("=\"");
    for c in value.to_string().chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            // Not legal in XML 1.0, or changed by attribute-value normalisation.
            '\u{fffe}' | '\u{ffff}' => xml.push(char::REPLACEMENT_CHARACTER),
            c if c.is_control() => xml.push(char::REPLACEMENT_CHARACTER),
            c => xml.push(c),
        }
    }
    xml.push('"');
}
