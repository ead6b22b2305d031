//! What is written is read back, what others write is read, and what is wrong is named by its line.

use proptest::prelude::*;

use super::*;

const SSM: &str = "v=0\r
o=- 7 1 IN IP4 10.0.0.1\r
s=acme-r1 2.4.1\r
c=IN IP4 232.1.1.1/16\r
b=AS:100000\r
t=0 0\r
a=source-filter: incl IN IP4 232.1.1.1 10.0.0.1\r
m=application 5000 FLUTE/UDP 0\r
a=flute-tsi:305419896\r
";

fn sample() -> SessionDescription {
    let channel = Channel::new(Some([10, 0, 0, 1].into()), [232, 1, 1, 1].into(), 5000).unwrap();
    SessionDescription {
        channel,
        tsi: Some(0x1234_5678),
        name: "acme-r1 2.4.1".into(),
        ttl: Some(16),
        rate_kbit_s: Some(100_000),
        session_id: 7,
        session_version: 1,
    }
}

/// The problem and the line of the sample with one line replaced.
fn problem(old: &str, new: &str) -> (usize, LineProblem) {
    assert!(SSM.contains(old));
    match SessionDescription::parse(&SSM.replace(old, new)) {
        Err(SdpError::Line { line, problem }) => (line, problem),
        other => panic!("{new}: {other:?}"),
    }
}

#[test]
fn writes_and_reads_the_documented_text() {
    assert_eq!(sample().to_sdp(), SSM);
    assert_eq!(SessionDescription::parse(SSM), Ok(sample()));
    assert_eq!(SessionDescription::parse(&SSM.replace('\r', "")), Ok(sample()));
    assert_eq!(SessionDescription::parse(SSM.trim_end()), Ok(sample()));
}

#[test]
fn ipv6_and_any_source() {
    let channel = Channel::new(Some("2001:db8::1".parse().unwrap()), "ff3e::8000:1".parse().unwrap(), 5000).unwrap();
    let v6 = SessionDescription { channel, ttl: None, tsi: None, rate_kbit_s: None, name: String::new(), ..sample() };
    let text = v6.to_sdp();
    assert!(text.contains("c=IN IP6 ff3e::8000:1\r\n"), "{text}");
    assert!(text.contains("a=source-filter: incl IN IP6 ff3e::8000:1 2001:db8::1\r\n"), "{text}");
    assert_eq!(SessionDescription::parse(&text), Ok(v6));
    let channel = Channel::new(None, [239, 1, 1, 1].into(), 5000).unwrap();
    let asm = SessionDescription { channel, ttl: None, ..sample() };
    let text = asm.to_sdp();
    assert!(text.contains("o=- 7 1 IN IP4 0.0.0.0\r\n") && text.contains("c=IN IP4 239.1.1.1/255\r\n"), "{text}");
    assert_eq!(SessionDescription::parse(&text), Ok(SessionDescription { ttl: Some(255), ..asm }));
}

/// The form of 3GPP TS 26.346 §7.3.2: address and bandwidth of the medium, filter and TSI of the session, other media.
#[test]
fn reads_what_others_write() {
    let text = "v=0
o=user123 2890844526 2890842807 IN IP6 2201:056D::112E:144A:1E24
s=File delivery session example
i=More information
t=2873397496 2873404696
a=mbms-mode:broadcast 1234 1
a=FEC-declaration:0 encoding-id=1
a=source-filter: incl IN IP6 * 2001:210:1:2:240:96FF:FE25:8EC9
a=flute-tsi:3
m=audio 49170 RTP/AVP 0
c=IN IP4 239.9.9.9/1
a=source-filter: incl IN IP4 * 192.0.2.1 192.0.2.2
m=application 12345 FLUTE/UDP 0
c=IN IP6 FF1E:03AD::7F2E:172A:1E24/1
b=64
b=TIAS:1
a=lang:EN
a=FEC:0
";
    let read = SessionDescription::parse(text).unwrap();
    assert_eq!(read.channel.to_string(), "(2001:210:1:2:240:96ff:fe25:8ec9,ff1e:3ad::7f2e:172a:1e24):12345");
    assert_eq!((read.tsi, read.rate_kbit_s, read.ttl), (Some(3), None, None));
    assert_eq!((read.session_id, read.session_version), (2_890_844_526, 2_890_842_807));
}

#[test]
fn the_medium_s_word_counts_more() {
    let text = format!(
        "{SSM}c=IN IP4 232.2.2.2/3/1\r\nb=AS:5\r\na=source-filter: incl IN IP4 232.2.2.2 10.0.0.2\r\n\
         a=source-filter: incl IN IP4 232.1.1.1 10.0.0.3\r\n"
    );
    let read = SessionDescription::parse(&text).unwrap();
    assert_eq!(read.channel, Channel::new(Some([10, 0, 0, 2].into()), [232, 2, 2, 2].into(), 5000).unwrap());
    assert_eq!((read.ttl, read.rate_kbit_s), (Some(3), Some(5)));
}

#[test]
fn wrong_lines_are_named() {
    use LineProblem as P;
    assert_eq!(problem("v=0", "v=1"), (1, P::Version));
    assert_eq!(problem("v=0", "s=x"), (1, P::Version));
    assert_eq!(problem("t=0 0", "v=0"), (6, P::Version));
    assert_eq!(problem("t=0 0", "t"), (6, P::Syntax));
    assert_eq!(problem("t=0 0", "tt=0"), (6, P::Syntax));
    assert_eq!(problem("t=0 0", "x=0"), (6, P::UnknownType));
    assert_eq!(problem("t=0 0", "t=0\0"), (6, P::Control));
    assert_eq!(problem("t=0 0", "t=0\r0"), (6, P::Control));
    assert_eq!(problem("t=0 0", "s=again"), (6, P::Repeated("s=")));
    assert_eq!(problem("t=0 0", "c=IN IP4 232.1.1.2/1"), (6, P::Repeated("c=")));
    for origin in ["o=-", "o=- x 1 IN IP4 10.0.0.1", "o=- 7 -1 IN IP4 10.0.0.1", "o=- 7 1 IN IP4 10.0.0.1 x"] {
        assert_eq!(problem("o=- 7 1 IN IP4 10.0.0.1", origin), (2, P::Origin), "{origin}");
    }
    for target in [
        "IN IP6 232.1.1.1",
        "IN IP4 ff3e::8000:1",
        "IN IP4 host.example/1",
        "IN IP4 232.1.1.1/256",
        "IN IP4 232.1.1.1/",
        "IN IP4 232.1.1.1/16/2",
        "IN IP4 232.1.1.1/16/1/1",
        "IN IP6 ff3e::8000:1/2",
        "IN IP6 ff3e::8000:1/1/1",
        "IN IP4",
        "XX IP4 232.1.1.1/16",
        "IN * 232.1.1.1",
    ] {
        assert_eq!(problem("IN IP4 232.1.1.1/16", target), (4, P::Connection), "{target}");
    }
    for rate in ["", "x", "-1", "+1", "1.5", "18446744073709551616"] {
        assert_eq!(problem("AS:100000", &format!("AS:{rate}")), (5, P::Bandwidth), "{rate}");
    }
    for medium in [
        "application",
        "application 0 FLUTE/UDP 0",
        "application 65536 FLUTE/UDP 0",
        "application 5000/2 FLUTE/UDP 0",
        "application x FLUTE/UDP 0",
    ] {
        assert_eq!(problem("application 5000 FLUTE/UDP 0", medium), (8, P::Media), "{medium}");
    }
    assert_eq!(problem("a=flute-tsi:305419896", "m=application 1 FLUTE/UDP 0"), (9, P::ManyMedia));
    for tsi in ["", "x", "-1", "4294967296"] {
        assert_eq!(problem("305419896", tsi), (9, P::Tsi), "{tsi}");
    }
    for filter in [
        "incl",
        "incl IN IP4 232.1.1.1",
        "incl IN IP4 232.1.1.1 host",
        "incl IN IP6 232.1.1.1 10.0.0.1",
        "incl IN IP4 host 10.0.0.1",
        "other IN IP4 232.1.1.1 10.0.0.1",
        "",
    ] {
        assert_eq!(problem("incl IN IP4 232.1.1.1 10.0.0.1", filter), (7, P::SourceFilter), "{filter}");
    }
    assert_eq!(problem("incl IN", "excl IN"), (7, P::ExcludingFilter));
    assert_eq!(problem("232.1.1.1 10.0.0.1", "232.1.1.1 10.0.0.1 10.0.0.2"), (7, P::ManySources));
    let second = "a=source-filter: incl IN IP4 * 10.0.0.2\r\nm=";
    assert_eq!(problem("m=", second), (8, P::ManySources));
    let message = SessionDescription::parse(&SSM.replace("incl", "excl")).unwrap_err().to_string();
    assert!(message.starts_with("line 7 of the session description: "), "{message}");
}

#[test]
fn missing_lines_and_impossible_channels() {
    let without = |letter: &str| {
        let kept = SSM.lines().filter(|line| !line.starts_with(letter)).collect::<Vec<_>>().join("\n");
        SessionDescription::parse(&kept).unwrap_err()
    };
    assert_eq!(without("o="), SdpError::Missing("o="));
    assert_eq!(without("s="), SdpError::Missing("s="));
    assert_eq!(without("c="), SdpError::Missing("c="));
    assert!(matches!(without("m="), SdpError::Missing(_)));
    assert!(matches!(without("a=source"), SdpError::Channel(ChannelError::SourceNeeded(_))));
    assert!(matches!(SessionDescription::parse(""), Err(SdpError::Missing(_))));
    let unicast = SSM.replace("232.1.1.1", "10.1.1.1");
    assert!(matches!(SessionDescription::parse(&unicast), Err(SdpError::Channel(ChannelError::NotMulticast(_)))));
    let long = SSM.replace("acme", &"a".repeat(MAX_SDP_LEN));
    assert_eq!(SessionDescription::parse(&long), Err(SdpError::TooLong(long.len())));
}

#[test]
fn names_cannot_add_lines() {
    let evil = "x\r\na=source-filter: incl IN IP4 * 6.6.6.6\nm=application 1 FLUTE/UDP 0\u{85}\u{2028}";
    let text = SessionDescription { name: evil.into(), ..sample() }.to_sdp();
    assert_eq!(text.lines().count(), SSM.lines().count());
    assert_eq!(SessionDescription::parse(&text).unwrap().channel, sample().channel);
    let long = SessionDescription { name: "\u{1F600}".repeat(20_000), ..sample() };
    let read = SessionDescription::parse(&long.to_sdp()).unwrap();
    assert_eq!(read.name.chars().count(), MAX_SDP_NAME_CHARS);
    assert!(SessionDescription { name: " \n".into(), ..sample() }.to_sdp().contains("s=-\r\n"));
}

proptest! {
    #[test]
    fn roundtrip(
        name in "[^\\pC\\pZ-]([^\\pC]{0,100}[^\\pC\\pZ])?",
        source in proptest::option::of(1u8..=223), group_tail: [u8; 2], port in 1u16..,
        tsi: Option<u32>, ttl: u8, rate_kbit_s: Option<u64>, session_id: u64, session_version: u64,
    ) {
        let [a, b] = group_tail;
        let (source, group) = match source {
            Some(first) => (Some([first, 0, 0, 9].into()), [232, 1, a, b].into()),
            None => (None, [239, 1, a, b].into()),
        };
        let channel = Channel::new(source, group, port).unwrap();
        let description =
            SessionDescription { channel, tsi, name, ttl: Some(ttl), rate_kbit_s, session_id, session_version };
        prop_assert_eq!(SessionDescription::parse(&description.to_sdp()), Ok(description));
    }

    #[test]
    fn any_text_never_panics(text in "\\PC*", lines in proptest::collection::vec("[a-z]=[ -~]{0,40}", 0..20)) {
        let _ = SessionDescription::parse(&text);
        let _ = SessionDescription::parse(&format!("v=0\n{}", lines.join("\n")));
    }

    /// Whatever a changed description still says can be written and read again.
    #[test]
    fn mutated_descriptions_are_read_right_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..128), 1..5),
    ) {
        let mut bytes = SSM.as_bytes().to_vec();
        for (at, byte) in edits {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(read) = SessionDescription::parse(&String::from_utf8(bytes).unwrap()) {
            let again = SessionDescription::parse(&read.to_sdp()).unwrap();
            prop_assert_eq!((again.channel, again.tsi, &again.name), (read.channel, read.tsi, &read.name));
        }
    }
}
