//! What happens in one run, drawn from its seed.

use fleetcast_protocol::keys::signing_key_from_random;
use fleetcast_protocol::session::sender::SenderConfig;
use fleetcast_protocol::session::{Profile, RepairShare};
use fleetcast_protocol::simulation::{Loss, PathConfig, Random, Release, image, release_key, sender_config};
use std::time::Duration;

const SYMBOL_SIZES: [u16; 4] = [8, 16, 64, 256];
const MAX_IMAGE_SYMBOLS: u64 = 160;

/// One sender's session, from when to when it sends.
#[derive(Debug, Clone)]
pub struct Session {
    /// Index of its release in [`Scenario::releases`].
    pub release: usize,
    pub config: SenderConfig,
    pub start: Duration,
    pub stop: Option<Duration>,
    pub path: PathConfig,
}

/// How the receiver dies, and what happens to its disk before it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// SIGKILL: what waited to be written is lost.
    Killed,
    /// Of what was not synced anything is lost or torn.
    PowerFailed,
    /// SIGKILL, and then the journal is an older one.
    StaleJournal,
    /// SIGKILL, and then bytes of the journal are changed and its end is missing.
    DamagedJournal,
    /// SIGKILL, and then the journal says of any row that it holds some symbol, with a check that is right.
    ForgedJournal,
    /// SIGKILL, and then bytes of staging are changed.
    DamagedStaging,
}

/// One run.
#[derive(Debug)]
pub struct Scenario {
    pub seed: u64,
    /// What is sent; those signed with another key come last.
    pub releases: Vec<Release>,
    /// The release that the receiver must end with.
    pub wanted: usize,
    pub sessions: Vec<Session>,
    /// From here on nothing disturbs the session that carries the wanted release.
    pub calm: Duration,
    /// Time between two packets of a session.
    pub tick: Duration,
    /// The receiver is not there before.
    pub join: Duration,
    /// When and how it dies, to be started again at once.
    pub deaths: Vec<(Duration, Death)>,
    /// How long the check of a block takes.
    pub check_time: Duration,
    /// Packets in a thousand beside which one of random bytes arrives.
    pub noise_permille: u64,
}

impl Scenario {
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        // Now and then so slow that after every packet there is time to try a block with exactly K symbols.
        let tick = Duration::from_micros(random.within(200..=8_000)) * if random.chance(150) { 100 } else { 1 };
        let mut releases = vec![release(random, 1, true)];
        let mut sessions = vec![session(random, 0)];
        let mut calm = Duration::ZERO;
        let mut wanted = 0;
        // The sender is restarted under another TSI, or goes on to a newer release.
        let turn = tick * to_u32(random.within(20..=600));
        if random.chance(300) {
            sessions[0].stop = Some(turn);
            sessions.push(Session { start: turn, ..session(random, 0) });
            calm = turn;
        } else if random.chance(300) {
            wanted = 1;
            releases.push(release(random, 2, true));
            // The old session may go on beside the new one.
            sessions[0].stop = random.chance(500).then_some(turn);
            sessions.push(Session { start: turn, ..session(random, 1) });
            calm = turn;
        }
        if random.chance(400) {
            let rival = rival(random, &mut releases, &sessions, tick);
            calm = calm.max(rival.stop.unwrap_or_default());
            sessions.push(rival);
        }
        let deaths = deaths(random, tick);
        Self {
            seed,
            releases,
            wanted,
            sessions,
            calm: calm.max(deaths.last().map_or(Duration::ZERO, |(at, _)| *at)),
            tick,
            join: if random.chance(300) { tick * to_u32(random.below(500)) } else { Duration::ZERO },
            deaths,
            check_time: if random.chance(500) { tick * to_u32(random.below(40)) } else { Duration::ZERO },
            noise_permille: if random.chance(300) { random.below(100) } else { 0 },
        }
    }
}

fn deaths(random: &mut Random, tick: Duration) -> Vec<(Duration, Death)> {
    use Death::{DamagedJournal, DamagedStaging, ForgedJournal, Killed, PowerFailed, StaleJournal};
    const KINDS: [Death; 8] =
        [Killed, Killed, Killed, PowerFailed, StaleJournal, DamagedJournal, ForgedJournal, DamagedStaging];
    let mut deaths: Vec<_> =
        (0..random.below(6)).map(|_| (tick * to_u32(random.below(1_200)), KINDS[random.index(KINDS.len())])).collect();
    deaths.sort_unstable_by_key(|(at, _)| *at);
    deaths
}

fn release(random: &mut Random, sequence: u64, trusted: bool) -> Release {
    let symbol_size = SYMBOL_SIZES[random.index(SYMBOL_SIZES.len())];
    let symbols = random.within(1..=MAX_IMAGE_SYMBOLS);
    let padding = random.below(u64::from(symbol_size));
    let len = symbols * u64::from(symbol_size) - padding;
    let blocks = random.within(1..=symbols.min(8));
    let key = if trusted { release_key() } else { signing_key_from_random(&[8; 32]) };
    let image = image(usize::try_from(len).unwrap(), random.next_u64());
    Release::seal(image, symbol_size, u16::try_from(blocks).unwrap(), sequence, &key)
}

fn session(random: &mut Random, release: usize) -> Session {
    let profile = match random.below(10) {
        0 => Profile::NoCode,
        1 => Profile::Flute,
        _ => Profile::Fleetcast,
    };
    let repair = match profile {
        Profile::NoCode => RepairShare::NONE,
        _ => RepairShare::from_permyriad(to_u32(random.below(4_000))),
    };
    let window_blocks = u16::try_from(random.within(1..=9)).unwrap();
    let tsi = to_u32(random.within(1..=0xFFFF));
    Session {
        release,
        config: SenderConfig { profile, window_blocks, repair, ..sender_config(tsi, None) },
        start: Duration::ZERO,
        stop: None,
        path: path(random),
    }
}

fn path(random: &mut Random) -> PathConfig {
    let loss = match random.below(4) {
        0 => Loss::Independent { permille: 0 },
        1 => Loss::Bursts { begin_permille: random.within(1..=30), end_permille: random.within(30..=500) },
        _ => Loss::Independent { permille: random.below(400) },
    };
    let mut rarely = |most: u64| if random.chance(300) { random.below(most) } else { 0 };
    PathConfig {
        loss,
        duplicate_permille: rarely(300),
        jitter: Duration::from_micros(rarely(200_000)),
        corrupt_permille: rarely(10),
        truncate_permille: rarely(30),
    }
}

/// Somebody else's session on the same group, for a while: another fleet's, or a forger's under the sender's own TSI.
fn rival(random: &mut Random, releases: &mut Vec<Release>, sessions: &[Session], tick: Duration) -> Session {
    let sequence = random.below(4);
    releases.push(release(random, sequence, false));
    let mut rival = session(random, releases.len() - 1);
    if random.chance(500) {
        rival.config.tsi = sessions[random.index(sessions.len())].config.tsi;
    }
    rival.start = tick * to_u32(random.below(300));
    rival.stop = Some(rival.start + tick * to_u32(random.within(10..=600)));
    rival
}

fn to_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap()
}
