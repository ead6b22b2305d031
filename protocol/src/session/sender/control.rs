//! The control packets of a session: FDT, manifest and announcement, and how often they repeat.

use super::{FeedbackConfig, SenderConfig, SenderError};
use crate::announcement::Announcement;
use crate::fdt::{Fdt, FdtFile, FdtOti};
use crate::feedback::Deficits;
use crate::manifest::UnverifiedManifest;
use crate::object::NoCodeObject;
use crate::session::profile::Profile;
use crate::session::schedule::Schedule;
use crate::wire::{
    Extension, FecId, IdWidth, NoCodeOti, PacketHead, PayloadId, TOI_ANNOUNCEMENT, TOI_FDT, TOI_IMAGE, TOI_MANIFEST,
};
use std::fmt::Display;
use std::time::Duration;

/// Control packets take at most one part in this many of the rate.
pub const CONTROL_SHARE: u64 = 100;
/// They repeat this often, unless that costs more than their share.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// And never more often than this.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// In a carousel they repeat so often in a pass: a late joiner can use nothing before it has the manifest, and shall not lose
/// more than this part of a pass to that.
const CAROUSEL_REPEATS: u64 = 40;
/// Head room for header extensions, so that a control packet is never larger than a data packet.
const EXTENSION_ROOM: u16 = 64;
/// Smallest symbol of a control object; images with tiny symbols (tests) would spread a manifest over too many packets.
const MIN_CONTROL_SYMBOL: u16 = 256;
/// One FDT instance lives this long; its id and its `Expires` are functions of the wall clock, so that a sender that is
/// restarted with the same manifest never gives an id other content.
const FDT_PERIOD_S: u64 = 600;
/// An FDT instance is valid for this long after its period.
const FDT_VALIDITY_S: u64 = 3600;
/// FDT instance ids have 20 bits (RFC 6726 §3.4.1).
const FDT_INSTANCE_IDS: u64 = 1 << 20;
/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

/// Makes the control packets.
#[derive(Debug)]
pub struct Control {
    width: IdWidth,
    tsi: u32,
    start_unix_s: u64,
    interval: Duration,
    /// Bytes of a pass where passes repeat.
    cycle_bytes: Option<u64>,
    symbol_size: u16,
    files: Vec<FdtFile>,
    manifest: NoCodeObject,
    announcement: Announcement,
}

impl Control {
    pub(super) fn new(
        config: &SenderConfig,
        manifest: &UnverifiedManifest,
        schedule: &Schedule,
    ) -> Result<Self, SenderError> {
        let partition = *schedule.partition();
        let symbol_size = partition.symbol_size().saturating_sub(EXTENSION_ROOM).max(MIN_CONTROL_SYMBOL);
        let object = NoCodeObject::new(TOI_MANIFEST, manifest.bytes().to_vec(), symbol_size).map_err(to_error)?;
        let announcement = Announcement {
            counter: 0,
            manifest_digest: manifest.digest(),
            pass: 0,
            passes: config.passes,
            pass_ended: false,
            window_blocks: schedule.window_blocks(),
            repair_symbols: schedule.repair_symbols(),
            group_size: None,
            rtt_ms: None,
            backoff_ms: None,
            feedback_port: None,
            repair_urls: Vec::new(),
            round: None,
            covered: Deficits::default(),
        };
        let mut control = Self {
            width: config.profile.id_width(),
            tsi: config.profile.tsi(config.tsi),
            start_unix_s: config.start_unix_s,
            interval: MAX_INTERVAL,
            cycle_bytes: (config.passes != Some(1)).then(|| schedule.len() * u64::from(partition.symbol_size())),
            symbol_size,
            files: files(config.profile, manifest, schedule, &object),
            manifest: object,
            announcement,
        };
        control.interval = control.affordable_interval(config.rate_bps);
        Ok(control)
    }

    /// Names these URLs in every announcement from now on.
    pub(super) fn announce_repair_urls(&mut self, urls: Vec<String>) -> Result<(), SenderError> {
        self.announcement.repair_urls = urls;
        self.announcement.to_cbor().map(drop).map_err(to_error)
    }

    /// Announces where feedback goes, and what scales the back-off of those who give it.
    pub(super) fn announce_feedback(&mut self, config: &FeedbackConfig) {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
        self.announcement.feedback_port = Some(config.port);
        self.announcement.group_size = Some(config.group_size);
        self.announcement.rtt_ms = Some(ms(config.rtt));
        self.announcement.backoff_ms = Some(ms(config.backoff()));
    }

    /// Announces this planned repair from now on.
    pub(super) fn announce_repair(&mut self, repair_symbols: (u32, u32)) {
        self.announcement.repair_symbols = repair_symbols;
    }

    /// Announces the open feedback round, and what is covered in it, or that none is open.
    pub(super) fn announce_round(&mut self, round: Option<(u32, Deficits)>) {
        let (number, covered) = round.unzip();
        self.announcement.round = number;
        self.announcement.covered = covered.unwrap_or_default();
    }

    /// Digest of the manifest that is sent.
    pub(super) fn manifest_digest(&self) -> [u8; 32] {
        self.announcement.manifest_digest
    }

    /// The session's TSI, as it is on the wire.
    pub(super) fn tsi(&self) -> u32 {
        self.tsi
    }

    /// Time between two rounds: a second, less in a carousel whose passes are short, more where that would cost over 1 % of the
    /// rate.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Keeps repeats to their share of this rate.
    pub(super) fn set_rate_bps(&mut self, rate_bps: u64) {
        self.interval = self.affordable_interval(rate_bps);
    }

    fn affordable_interval(&self, rate_bps: u64) -> Duration {
        // Heads, the FDT and the announcement are small: three packets' worth covers them.
        let round_bytes = self.manifest.bytes().len() as u64 + 3 * u64::from(self.symbol_size + EXTENSION_ROOM);
        let share_bps = (rate_bps / CONTROL_SHARE).max(1);
        let time_of = |bytes: u64, rate_bps: u64| Duration::from_millis(bytes.saturating_mul(8_000) / rate_bps.max(1));
        let wanted = self.cycle_bytes.map_or(MAX_INTERVAL, |bytes| time_of(bytes / CAROUSEL_REPEATS, rate_bps));
        wanted.clamp(MIN_INTERVAL, MAX_INTERVAL).max(time_of(round_bytes, share_bps))
    }

    /// One round: FDT, manifest, announcement.
    pub(super) fn round(
        &mut self,
        now: Duration,
        pass: u32,
        pass_ended: bool,
        close_session: bool,
    ) -> Result<Vec<Vec<u8>>, SenderError> {
        let mut packets = self.fdt(now, close_session)?;
        let manifest = Extension::FtiNoCode(self.manifest.oti());
        for (payload_id, symbol) in self.manifest.symbols() {
            packets.push(self.packet(TOI_MANIFEST, payload_id, &[manifest], symbol, close_session)?);
        }
        packets.push(self.announcement(pass, pass_ended, close_session)?);
        Ok(packets)
    }

    fn fdt(&self, now: Duration, close_session: bool) -> Result<Vec<Vec<u8>>, SenderError> {
        let unix_s = self.start_unix_s + now.as_secs();
        let period = unix_s / FDT_PERIOD_S;
        let instance_id = u32::try_from(period % FDT_INSTANCE_IDS).unwrap_or_default();
        let expires_unix_s = (period + 1) * FDT_PERIOD_S + FDT_VALIDITY_S;
        let fdt = Fdt {
            instance_id,
            expires_ntp_s: expires_unix_s + NTP_UNIX_OFFSET_S,
            complete: true,
            files: self.files.clone(),
        };
        let object = NoCodeObject::new(TOI_FDT, fdt.to_xml().into_bytes(), self.symbol_size).map_err(to_error)?;
        let extensions = [
            Extension::Fdt { version: 2, instance_id },
            Extension::FtiNoCode(object.oti()),
            Extension::Time { sender_time_ntp_s: ntp_low_32(unix_s) },
        ];
        object.symbols().map(|(id, symbol)| self.packet(TOI_FDT, id, &extensions, symbol, close_session)).collect()
    }

    /// The announcement, in one packet; each has a higher counter than the one before.
    pub(super) fn announcement(
        &mut self,
        pass: u32,
        pass_ended: bool,
        close_session: bool,
    ) -> Result<Vec<u8>, SenderError> {
        self.announcement.counter += 1;
        self.announcement.pass = pass;
        self.announcement.pass_ended = pass_ended;
        // Both would not always fit: in a round URLs give way to what is covered, and other announcements name them.
        let urls = self.announcement.round.map(|_| std::mem::take(&mut self.announcement.repair_urls));
        let encoded = self.announcement.to_cbor();
        self.announcement.repair_urls.extend(urls.into_iter().flatten());
        let bytes = encoded.map_err(to_error)?;
        let size = u16::try_from(bytes.len()).map_err(to_error)?;
        let oti = NoCodeOti { transfer_length: u64::from(size), symbol_size: size, max_block_len: 1 };
        let id = PayloadId { sbn: 0, esi: 0 };
        self.packet(TOI_ANNOUNCEMENT, id, &[Extension::FtiNoCode(oti)], &bytes, close_session)
    }

    fn packet(
        &self,
        toi: u64,
        payload_id: PayloadId,
        extensions: &[Extension],
        payload: &[u8],
        close_session: bool,
    ) -> Result<Vec<u8>, SenderError> {
        let head = PacketHead {
            width: self.width,
            tsi: self.tsi,
            toi,
            fec: FecId::NoCode,
            close_session,
            close_object: false,
            payload_id,
            extensions,
        };
        let mut packet = vec![0; head.len() + payload.len()];
        let head_len = head.write(&mut packet).map_err(to_error)?;
        packet[head_len..].copy_from_slice(payload);
        Ok(packet)
    }
}

fn to_error(error: impl Display) -> SenderError {
    SenderError::Control(error.to_string())
}

/// The low 32 bits of NTP time, as EXT_TIME carries it (RFC 5651 §5.2.2).
#[expect(clippy::cast_possible_truncation, reason = "NTP eras wrap by design")]
fn ntp_low_32(unix_s: u64) -> u32 {
    unix_s.wrapping_add(NTP_UNIX_OFFSET_S) as u32
}

/// The FDT's entries: the image, and the manifest for whoever wants to keep it.
fn files(
    profile: Profile,
    manifest: &UnverifiedManifest,
    schedule: &Schedule,
    manifest_object: &NoCodeObject,
) -> Vec<FdtFile> {
    let partition = schedule.partition();
    let name = &manifest.manifest().name;
    let image_oti = match profile.image_fec() {
        FecId::RaptorQ => FdtOti::raptorq(partition),
        FecId::NoCode => FdtOti::NoCode(NoCodeOti {
            transfer_length: partition.image_len(),
            symbol_size: partition.symbol_size(),
            max_block_len: partition.largest_k(),
        }),
    };
    let file = |toi, content_location: String, len: u64, oti| FdtFile {
        toi,
        content_location,
        content_length: Some(len),
        transfer_length: Some(len),
        content_type: None,
        content_encoding: None,
        content_md5: None,
        oti: Some(oti),
    };
    vec![
        file(TOI_IMAGE, name.clone(), partition.image_len(), image_oti),
        file(
            TOI_MANIFEST,
            format!("{name}.fcm"),
            manifest_object.bytes().len() as u64,
            FdtOti::NoCode(manifest_object.oti()),
        ),
    ]
}
