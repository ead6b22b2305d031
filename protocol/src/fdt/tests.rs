//! Known documents, hostile documents, and roundtrips.

use proptest::prelude::*;

use super::*;

fn table() -> Fdt {
    let partition = Partition::plan(500_000_000, 1344, 2000).unwrap();
    let image = FdtFile {
        toi: 2,
        content_location: "firmware.bin".to_owned(),
        content_length: Some(500_000_000),
        transfer_length: Some(500_000_000),
        content_type: Some("application/octet-stream".to_owned()),
        content_encoding: None,
        content_md5: None,
        oti: Some(FdtOti::raptorq(&partition)),
    };
    let manifest = FdtFile {
        toi: 1,
        content_location: "firmware.bin.fcm".to_owned(),
        content_length: Some(6500),
        transfer_length: Some(6500),
        content_type: Some("application/cose; cose-type=\"cose-sign1\"".to_owned()),
        content_encoding: None,
        content_md5: None,
        oti: Some(FdtOti::NoCode(NoCodeOti { transfer_length: 6500, symbol_size: 1344, max_block_len: 5 })),
    };
    Fdt { instance_id: 0, expires_ntp_s: 4_000_000_000, complete: true, files: vec![manifest, image] }
}

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<FDT-Instance xmlns="urn:ietf:params:xml:ns:fdt" Expires="4000000000" Complete="true">
<File Content-Location="firmware.bin.fcm" TOI="1" Content-Length="6500" Transfer-Length="6500" Content-Type="application/cose; cose-type=&quot;cose-sign1&quot;" FEC-OTI-FEC-Encoding-ID="0" FEC-OTI-Encoding-Symbol-Length="1344" FEC-OTI-Maximum-Source-Block-Length="5"/>
<File Content-Location="firmware.bin" TOI="2" Content-Length="500000000" Transfer-Length="500000000" Content-Type="application/octet-stream" FEC-OTI-FEC-Encoding-ID="6" FEC-OTI-Encoding-Symbol-Length="1344" FEC-OTI-Maximum-Source-Block-Length="1990" FEC-OTI-Scheme-Specific-Info="uwABCA=="/>
</FDT-Instance>
"#;

fn parse(xml: &str) -> Result<Fdt, FdtError> {
    Fdt::parse(xml.as_bytes())
}

/// An FDT with these attributes of FDT-Instance and these files.
fn document(instance: &str, files: &str) -> String {
    format!("<FDT-Instance Expires=\"1\" {instance}>{files}</FDT-Instance>")
}

fn one_file(attributes: &str) -> Result<FdtFile, FdtError> {
    parse(&document("", &format!("<File TOI=\"2\" Content-Location=\"a\" {attributes}/>")))
        .map(|mut fdt| fdt.files.remove(0))
}

fn attribute_of(error: FdtError) -> &'static str {
    match error {
        FdtError::Value { attribute, .. }
        | FdtError::Missing { attribute, .. }
        | FdtError::AttributeTooLong { attribute, .. } => attribute,
        other => panic!("{other}"),
    }
}

#[test]
fn writes_known_bytes_and_reads_them() {
    assert_eq!(table().to_xml(), XML);
    assert_eq!(parse(XML), Ok(table()));
    assert!(!XML.contains("Max-Number-of-Encoding-Symbols"));
}

#[test]
fn every_truncation_is_an_error() {
    // The line feed after the root may be cut.
    for len in 0..XML.len() - 1 {
        assert!(parse(&XML[..len]).is_err(), "{len}");
    }
}

/// The shape of what the crate `flute` sends: OTI on FDT-Instance, a namespace of its own, a maximum source block
/// length that contradicts Z.
#[test]
fn takes_oti_from_the_instance() {
    let xml = r#"<?xml version="1.0" encoding="UTF-8"?><FDT-Instance xmlns="urn:IETF:metadata:2005:FLUTE:FDT"
        xmlns:mbms2007="urn:3GPP:metadata:2007:MBMS:FLUTE:FDT" Expires="3900000000" Content-Type="text/plain"
        FEC-OTI-FEC-Encoding-ID="6" FEC-OTI-Encoding-Symbol-Length="1400" FEC-OTI-Maximum-Source-Block-Length="60"
        FEC-OTI-Max-Number-of-Encoding-Symbols="70" FEC-OTI-Scheme-Specific-Info="AQABBA==">
        <File Content-Location="file:///a" TOI="7" Content-Length="5000" Transfer-Length="5000" mbms2007:x="y">
          <mbms2007:Cache-Control><mbms2007:no-cache>true</mbms2007:no-cache></mbms2007:Cache-Control>
        </File>
        <File Content-Location="file:///b" TOI="8" Content-Length="10" FEC-OTI-FEC-Encoding-ID="0" Content-Type="x/y"/>
      </FDT-Instance>"#;
    let fdt = parse(xml).unwrap();
    assert!(!fdt.complete);
    let oti = RaptorQOti { transfer_length: 5000, symbol_size: 1400, blocks: 1, sub_blocks: 1, alignment: 4 };
    assert_eq!(fdt.files[0].oti, Some(FdtOti::RaptorQ { oti, max_block_len: 60 }));
    assert_eq!(fdt.files[0].content_type.as_deref(), Some("text/plain"));
    let oti = NoCodeOti { transfer_length: 10, symbol_size: 1400, max_block_len: 60 };
    assert_eq!(fdt.files[1].oti, Some(FdtOti::NoCode(oti)));
    assert_eq!(fdt.files[1].content_type.as_deref(), Some("x/y"));
}

#[test]
fn takes_any_namespace_but_only_files_of_it() {
    for (open, close) in [
        ("FDT-Instance", "FDT-Instance"),
        ("FDT-Instance xmlns=\"http://www.example.com/flute\"", "FDT-Instance"),
        ("f:FDT-Instance xmlns:f=\"urn:ietf:params:xml:ns:fdt\"", "f:FDT-Instance"),
    ] {
        let f = if close.starts_with("f:") { "f:" } else { "" };
        let xml = format!(
            "\u{feff}<{open} Expires=\"1\"><{f}File TOI=\"1\" Content-Location=\"a\"/>\
             <File xmlns=\"urn:other\" TOI=\"2\" Content-Location=\"b\"/><Folder><{f}File/></Folder></{close}>"
        );
        let files = parse(&xml).unwrap().files;
        assert_eq!(files.iter().map(|file| file.toi).collect::<Vec<_>>(), [1], "{xml}");
    }
    assert!(matches!(parse("<f:FDT-Instance Expires=\"1\"/>"), Err(FdtError::Xml { .. })));
}

#[test]
fn tolerates_order_whitespace_and_what_it_does_not_know() {
    let xml = "<!-- c --><FDT-Instance\n New='1' Complete=' 1 '\n Expires=' 12 ' ><?pi x?><x:y xmlns:x='z'>&amp;&#65;<![CDATA[<]]></x:y>\
               <File Content-Location='a&#x26;b &quot;&lt;' Mine='&unknown;' TOI=' 3\n'></File> text </FDT-Instance> <!-- c -->";
    let fdt = parse(xml).unwrap();
    assert_eq!((fdt.expires_ntp_s, fdt.complete, fdt.files.len()), (12, true, 1));
    assert_eq!((fdt.files[0].toi, fdt.files[0].content_location.as_str()), (3, "a&b \"<"));
    assert_eq!(
        parse("<FDT-Instance Expires='1' Complete='false'/>").map(|f| (f.complete, f.files)),
        Ok((false, vec![]))
    );
}

#[test]
fn names_the_attribute_that_is_wrong() {
    for (xml, attribute) in [
        ("<FDT-Instance/>", "Expires"),
        ("<FDT-Instance Expires=''/>", "Expires"),
        ("<FDT-Instance Expires='-1'/>", "Expires"),
        ("<FDT-Instance Expires='1' Complete='yes'/>", "Complete"),
    ] {
        assert_eq!(attribute_of(parse(xml).unwrap_err()), attribute);
    }
    for (file, attribute) in [
        ("Content-Location='a'", "TOI"),
        ("TOI='1'", "Content-Location"),
        ("TOI='0' Content-Location='a'", "TOI"),
        ("TOI='18446744073709551616' Content-Location='a'", "TOI"),
        ("TOI='0x1' Content-Location='a'", "TOI"),
        ("TOI='1' Content-Location='&#27;[2J'", "Content-Location"),
        ("TOI='1' Content-Location='a' Content-Length='1.5'", "Content-Length"),
        ("TOI='1' Content-Location='a' Transfer-Length='1e3'", "Transfer-Length"),
        ("TOI='1' Content-Location='a' Content-MD5='AAAA'", "Content-MD5"),
        ("TOI='1' Content-Location='a' FEC-OTI-FEC-Encoding-ID='256'", "FEC-OTI-FEC-Encoding-ID"),
    ] {
        assert_eq!(attribute_of(parse(&document("", &format!("<File {file}/>"))).unwrap_err()), attribute, "{file}");
    }
    for (oti, attribute) in [
        ("FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='65536'", "FEC-OTI-Encoding-Symbol-Length"),
        (
            "FEC-OTI-FEC-Encoding-ID='0' FEC-OTI-Maximum-Source-Block-Length='4294967296'",
            "FEC-OTI-Maximum-Source-Block-Length",
        ),
    ] {
        assert_eq!(attribute_of(one_file(&format!("Content-Length='9' {oti}")).unwrap_err()), attribute);
    }
}

#[test]
fn refuses_oti_that_cannot_be() {
    for oti in [
        "FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='0' FEC-OTI-Scheme-Specific-Info='AQABCA=='",
        "FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='9' FEC-OTI-Scheme-Specific-Info='AQABCA=='",
        "FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='8' FEC-OTI-Scheme-Specific-Info='AAABCA=='",
        "FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='8' FEC-OTI-Scheme-Specific-Info='AQAB'",
        "FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='8' FEC-OTI-Scheme-Specific-Info='%'",
        "FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='1' FEC-OTI-Scheme-Specific-Info='AQABAQ=='",
        "FEC-OTI-FEC-Encoding-ID='0' FEC-OTI-Encoding-Symbol-Length='0' FEC-OTI-Maximum-Source-Block-Length='1'",
        "FEC-OTI-FEC-Encoding-ID='0' FEC-OTI-Encoding-Symbol-Length='1' FEC-OTI-Maximum-Source-Block-Length='0'",
    ] {
        let read = one_file(&format!("Transfer-Length='900000000000' {oti}"));
        assert!(matches!(read, Err(FdtError::Oti { toi: 2, .. })), "{oti}: {read:?}");
    }
}

#[test]
fn a_file_without_complete_oti_has_none_unless_its_scheme_is_another() {
    const RAPTORQ: &str =
        "FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='8' FEC-OTI-Scheme-Specific-Info='AwABCA=='";
    let oti = |attributes: &str| one_file(attributes).unwrap().oti;
    assert_eq!(oti(""), None);
    assert_eq!(
        oti("Content-Length='9' FEC-OTI-FEC-Encoding-ID='5' FEC-OTI-Encoding-Symbol-Length='x'"),
        Some(FdtOti::Other(5))
    );
    assert_eq!(oti("Content-Length='9' FEC-OTI-FEC-Encoding-ID='6' FEC-OTI-Encoding-Symbol-Length='8'"), None);
    assert_eq!(oti("Content-Length='9' FEC-OTI-FEC-Encoding-ID='0' FEC-OTI-Encoding-Symbol-Length='8'"), None);
    assert_eq!(oti(RAPTORQ), None);
    assert_eq!(oti(&format!("Content-Length='72' Content-Encoding='gzip' {RAPTORQ}")), None);
    // ceil(Kt / Z) where the sender gives no maximum source block length: 10 symbols in 3 blocks.
    let expected = RaptorQOti { transfer_length: 73, symbol_size: 8, blocks: 3, sub_blocks: 1, alignment: 8 };
    let expected = Some(FdtOti::RaptorQ { oti: expected, max_block_len: 4 });
    assert_eq!(oti(&format!("Content-Length='73' {RAPTORQ}")), expected);
    assert_eq!(oti(&format!("Content-Length='99' Transfer-Length='73' Content-Encoding='gzip' {RAPTORQ}")), expected);
}

#[test]
fn refuses_dtd_and_entities() {
    let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]><FDT-Instance Expires='1'>&b;</FDT-Instance>";
    assert_eq!(parse(bomb), Err(FdtError::Dtd));
    assert_eq!(parse(&format!("<!DOCTYPE FDT-Instance SYSTEM 'file:///etc/passwd'>{XML}")), Err(FdtError::Dtd));
    assert_eq!(parse(&document("", "&a;")), Err(FdtError::Dtd));
    assert!(matches!(one_file("Content-Type='&a;'"), Err(FdtError::Xml { .. })));
    assert!(matches!(one_file("Content-Type='&#0;'"), Err(FdtError::Xml { .. })));
}

#[test]
fn refuses_what_is_too_much() {
    assert_eq!(Fdt::parse(&vec![b' '; MAX_FDT_LEN + 1]), Err(FdtError::TooLong(MAX_FDT_LEN + 1)));
    let files = |n| (1..=n).map(|toi| format!("<File TOI='{toi}' Content-Location='a'/>")).collect::<String>();
    assert_eq!(parse(&document("", &files(MAX_FILES))).map(|f| f.files.len()), Ok(MAX_FILES));
    assert_eq!(parse(&document("", &files(MAX_FILES + 1))), Err(FdtError::TooManyFiles));
    let attributes = |n| (0..n).map(|i| format!("a{i}='' ")).collect::<String>();
    assert!(one_file(&attributes(MAX_ATTRIBUTES - 2)).is_ok());
    assert_eq!(one_file(&attributes(MAX_ATTRIBUTES - 1)), Err(FdtError::TooManyAttributes));
    assert_eq!(one_file(&attributes(25_000)), Err(FdtError::TooManyAttributes));
    assert!(one_file(&format!("Content-Type='{}'", "a".repeat(MAX_ATTRIBUTE_LEN))).is_ok());
    let long = one_file(&format!("Content-Type='{}'", "a".repeat(MAX_ATTRIBUTE_LEN + 1)));
    assert_eq!(attribute_of(long.unwrap_err()), "Content-Type");
    assert!(one_file(&format!("Mine='{}'", "a".repeat(100_000))).is_ok());
    assert_eq!(parse(&document("", &"<a>".repeat(80_000))), Err(FdtError::TooDeep));
    assert!(parse(&document("", &format!("{}{}", "<a>".repeat(14), "</a>".repeat(14)))).is_ok());
    let twice = "<File TOI='7' Content-Location='a'/>".repeat(2);
    assert_eq!(parse(&document("", &twice)), Err(FdtError::DuplicateToi(7)));
}

#[test]
fn refuses_what_is_no_fdt() {
    assert_eq!(parse(""), Err(FdtError::NotAnFdt));
    assert_eq!(parse("plain text"), Err(FdtError::NotAnFdt));
    assert_eq!(parse("<html/>"), Err(FdtError::NotAnFdt));
    assert_eq!(Fdt::parse(&[0x1f, 0x8b, 8, 0]), Err(FdtError::NotUtf8(1)));
    for xml in [
        "<FDT-Instance Expires='1'/><FDT-Instance Expires='2'/>",
        "<FDT-Instance Expires='1'></File>",
        "<FDT-Instance Expires='1'></FDT-Instance></FDT-Instance>",
        "<FDT-Instance Expires='1'>",
        "<FDT-Instance Expires='1' Expires='2'/>",
        "<FDT-Instance Expires=1/>",
        "<FDT-Instance Expires='1'>&</FDT-Instance>",
    ] {
        assert!(matches!(parse(xml), Err(FdtError::Xml { .. })), "{xml}: {:?}", parse(xml));
    }
}

#[test]
fn errors_stay_short() {
    let error = one_file(&format!("Content-Length='{}'", "9".repeat(4000))).unwrap_err().to_string();
    assert!(error.len() < 200 && error.contains("Content-Length"), "{error}");
    let error = parse(&format!("<FDT-Instance Expires='1'></{}>", "a".repeat(100_000))).unwrap_err().to_string();
    assert!(error.len() < 300, "{error}");
    let error = parse("<FDT-Instance Expires='1'></\u{1b}[2J>").unwrap_err().to_string();
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

#[test]
fn control_characters_never_reach_the_xml() {
    let mut fdt = table();
    fdt.files[0].content_location = "a\u{0}\n\u{85}\u{ffff}b".to_owned();
    fdt.expires_ntp_s = (1 << 32) + 5;
    let read = parse(&fdt.to_xml()).unwrap();
    assert_eq!(read.files[0].content_location, "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b");
    assert_eq!(read.expires_ntp_s, 5);
}

fn any_oti(transfer_length: u64) -> impl Strategy<Value = Option<FdtOti>> {
    let raptorq =
        (1u16..8191, 1u8.., 1u16.., 1u8..=8, any::<u32>()).prop_map(move |(t, blocks, sub_blocks, alignment, b)| {
            let symbol_size = t * u16::from(alignment);
            let oti = RaptorQOti { transfer_length, symbol_size, blocks, sub_blocks, alignment };
            Some(FdtOti::RaptorQ { oti, max_block_len: b })
        });
    let no_code = (1u16.., 1u32..).prop_map(move |(symbol_size, max_block_len)| {
        Some(FdtOti::NoCode(NoCodeOti { transfer_length, symbol_size, max_block_len }))
    });
    let other = prop_oneof![1u8..6, 7u8..].prop_map(|id| Some(FdtOti::Other(id)));
    prop_oneof![Just(None), raptorq, no_code, other]
}

prop_compose! {
    fn any_file()(length in 0u64..900_000_000_000)(
        toi in 1u64.., content_location in "[^\\p{Cc}\u{fffe}\u{ffff} ]{0,40}", content_length in any::<Option<u64>>(),
        content_type in proptest::option::of("[a-z/;=\"'<>&]{0,20}"), oti in any_oti(length), length in Just(length),
        content_encoding in proptest::option::of("(gzip|deflate|zlib)"), content_md5 in any::<Option<[u8; 16]>>(),
    ) -> FdtFile {
        let transfer_length = Some(length);
        FdtFile { toi, content_location, content_length, transfer_length, content_type, content_encoding, content_md5, oti }
    }
}

proptest! {
    #[test]
    fn roundtrips(expires: u32, complete: bool, mut files in proptest::collection::vec(any_file(), 0..6)) {
        files.sort_by_key(|file| file.toi);
        files.dedup_by_key(|file| file.toi);
        let fdt = Fdt { instance_id: 0, expires_ntp_s: u64::from(expires), complete, files };
        prop_assert_eq!(parse(&fdt.to_xml()), Ok(fdt));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Fdt::parse(&bytes);
    }

    /// Pieces of XML in any order reach further than arbitrary bytes.
    #[test]
    fn pieces_of_xml_never_panic(pieces in proptest::collection::vec(prop::sample::select(vec![
        "<FDT-Instance", "<File", "</File>", "</FDT-Instance>", "/>", ">", "<", " Expires='1'", " TOI='1'", " TOI=\"",
        " Content-Location='a'", " FEC-OTI-FEC-Encoding-ID='6'", " FEC-OTI-Scheme-Specific-Info='AQABCA=='", "<!DOCTYPE",
        "<!--", "-->", "<![CDATA[", "]]>", "<?xml", "?>", "&", "&amp;", "&#x", ";", "'", "\"", "=", " ", "xmlns:a='b'", "a:", "\u{0}", "é",
    ]), 0..30)) {
        let _ = parse(&pieces.concat());
    }

    #[test]
    fn one_changed_byte_never_panics(at in 0..XML.len(), value: u8) {
        let mut bytes = XML.as_bytes().to_vec();
        bytes[at] = value;
        let _ = Fdt::parse(&bytes);
    }
}
