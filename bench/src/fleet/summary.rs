//! What a run came to: the figures, the words for people, and what makes it void.

use super::Options;
use super::result::{FleetResult, Kind, Machine, Router, Settings, Summary};
use super::stage::{Played, kept_up};
use crate::report::Row;
use std::{env, fs, thread};

/// Routers that lose no more than this are nobody's tail.
const LITTLE_LOSS: f64 = 0.02;

/// The whole result.
pub fn result(options: &Options, played: Played) -> FleetResult {
    let members = (0u32..).zip(&played.members);
    let real = u32::try_from(played.twins.len()).unwrap_or(u32::MAX);
    let routers: Vec<Router> = members
        .filter_map(|(index, member)| {
            let router = played.outcome.router(index as usize, member, index < real)?;
            // Where there is a process, its word counts.
            Some(match played.twins.get(index as usize) {
                Some(twin) => Router { completed_s: twin.real.completed_s.filter(|_| twin.real.complete), ..router },
                None => router,
            })
        })
        .collect();
    FleetResult {
        command: command(),
        machine: machine(),
        real: sentences(&[
            "The sender is the unmodified program fleetcast-send; it reads, encodes and paces the whole image.",
            "Its packets cross a bridge in the kernel, from and to network namespaces.",
            &format!("{real} routers are processes fleetcast-recv that decode, hash, verify and write the image."),
            "Reports of all routers go to the sender's socket, and it answers them with repair.",
        ]),
        emulated: sentences(&[
            &format!(
                "{} routers are the receiver's session in one process, fed from the live stream; they keep no bytes.",
                played.members.len().saturating_sub(played.twins.len())
            ),
            "Losses are a keyed hash of router and packet, computed by the kernel for processes and by the emulator for all.",
            "Whether an emulated block decodes is settled by rank or by the law of the code; a sample is decoded with bytes.",
        ]),
        settings: settings(options, real, played.image_bytes),
        summary: summarize(options, &played, &routers),
        routers,
        timeline: played.outcome.timeline,
        sender: played.sender,
        pacing: played.outcome.pacing,
        twins: played.twins,
        proof: played.proof,
        emulator: played.outcome.emulator,
    }
}

fn summarize(options: &Options, played: &Played, routers: &[Router]) -> Summary {
    let sender = &played.sender;
    let times = |wanted: &dyn Fn(&Router) -> bool| -> Vec<f64> {
        let mut times: Vec<f64> =
            routers.iter().filter(|router| wanted(router)).filter_map(|router| router.completed_s).collect();
        times.sort_unstable_by(f64::total_cmp);
        times
    };
    let all = times(&|_| true);
    let little = times(&|router| router.kind == Kind::Living && router.loss <= LITTLE_LOSS);
    Summary {
        bench: "fleet".to_owned(),
        receivers: count(routers.len()),
        verified: count(all.len()),
        dead: count(routers.iter().filter(|router| router.kind == Kind::Dead).count()),
        last_complete_s: rounded(all.last().copied().unwrap_or_default()),
        p99_s: rounded(quantile(&all, 99)),
        p50_s: rounded(quantile(&all, 50)),
        last_complete_loss_2_percent_s: rounded(little.last().copied().unwrap_or_default()),
        wire_ratio: rounded(sender.wire_bytes as f64 / played.image_bytes.max(1) as f64),
        sender_cpu_percent: rounded(100.0 * (sender.user_s + sender.system_s) / sender.wall_s.max(1e-9)),
        kept_up: kept_up(played, options.rtt),
        real_receivers: count(played.twins.len()),
        real_equal_emulated: played.twins.iter().all(|twin| twin.equal),
    }
}

/// Why the run does not count, if so.
pub fn failures(result: &FleetResult) -> Vec<String> {
    let (summary, emulator, proof) = (&result.summary, &result.emulator, &result.proof);
    let mut failures = Vec::new();
    let living = summary.receivers - summary.dead;
    if summary.verified < living {
        failures.push(format!("{} of {living} living routers are not verified", living - summary.verified));
    }
    if !summary.kept_up {
        failures.push(format!(
            "the emulator fell behind: {} of {} packets, {} dropped by its socket, {} symbols missing, up to {:.0} ms late, {:.0} ms while the sender asked",
            emulator.packets,
            result.sender.packets,
            emulator.socket_drops,
            emulator.gaps,
            emulator.lag_max_s * 1e3,
            emulator.round_lag_max_s * 1e3
        ));
    }
    for twin in result.twins.iter().filter(|twin| !twin.equal) {
        failures.push(format!(
            "router {}: the process came to {:?} (its socket dropped {}), its emulated twin to {:?}",
            twin.router, twin.real, twin.socket_drops, twin.emulated
        ));
    }
    if proof.sampled_right < proof.sampled || proof.failures_confirmed < proof.failures_tried {
        failures.push(format!("blocks decode otherwise with bytes: {proof:?}"));
    }
    failures
}

/// What the table has no room for.
pub fn text(result: &FleetResult) -> String {
    let (sender, proof, emulator) = (&result.sender, &result.proof, &result.emulator);
    format!(
        "Real:\n  {}\nEmulated:\n  {}\n\
         Sender: {:.2} s user and {:.2} s system in {:.1} s; {} packets; {} reports in {} rounds, {} symbols on request.\n\
         Router-blocks: {} whole, {} by rank ({} lacked it), {} by law ({:.1e} failures expected); \
         {} of {} decoded with bytes were right, {} of {} failures confirmed.\n\
         Emulator: busy {:.0} % of the time, headroom {:.1}; late by {:.0} ms at most, {:.1} ms at p99, {:.1} ms at most while the sender asked.",
        result.real.join("\n  "),
        result.emulated.join("\n  "),
        sender.user_s,
        sender.system_s,
        sender.wall_s,
        sender.packets,
        sender.reports,
        sender.rounds,
        sender.requested_symbols,
        proof.whole,
        proof.by_rank,
        proof.singular,
        proof.by_law,
        proof.law_failures_expected,
        proof.sampled_right,
        proof.sampled,
        proof.failures_confirmed,
        proof.failures_tried,
        emulator.busy_share * 100.0,
        emulator.headroom,
        emulator.lag_max_s * 1e3,
        emulator.lag_p99_s * 1e3,
        emulator.round_lag_max_s * 1e3,
    )
}

impl Row for Summary {
    const COLUMNS: &'static [&'static str] = &[
        "routers",
        "verified",
        "dead",
        "p50 s",
        "p99 s",
        "last <= 2% s",
        "last s",
        "wire/image",
        "sender CPU %",
        "kept up",
        "real",
        "as emulated",
    ];

    fn cells(&self) -> Vec<String> {
        let yes = |is: bool| if is { "yes" } else { "NO" }.to_owned();
        vec![
            self.receivers.to_string(),
            self.verified.to_string(),
            self.dead.to_string(),
            format!("{:.2}", self.p50_s),
            format!("{:.2}", self.p99_s),
            format!("{:.2}", self.last_complete_loss_2_percent_s),
            format!("{:.2}", self.last_complete_s),
            format!("{:.3}", self.wire_ratio),
            format!("{:.1}", self.sender_cpu_percent),
            yes(self.kept_up),
            self.real_receivers.to_string(),
            yes(self.real_equal_emulated),
        ]
    }
}

fn settings(options: &Options, real: u32, image_bytes: u64) -> Settings {
    Settings {
        receivers: options.receivers,
        real_receivers: real,
        image_bytes,
        rate_bps: options.rate,
        repair: options.repair.clone(),
        passes: options.carousel,
        loss: f64::from(options.loss) / 1e4,
        burst_packets: options.burst,
        late: f64::from(options.late) / 1e4,
        rtt_s: options.rtt.as_secs_f64(),
        seed: options.seed,
    }
}

fn command() -> String {
    let arguments: Vec<String> = env::args().skip(1).collect();
    format!("fleetcast-bench {}", arguments.join(" "))
}

fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start_matches([':', '\t', ' ']).to_owned()))
    };
    let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()));
    Machine {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        cores: thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory_kib.unwrap_or_default() * 1024,
        fleetcast: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn sentences(sentences: &[&str]) -> Vec<String> {
    sentences.iter().map(|&sentence| sentence.to_owned()).collect()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// To milliseconds, and as fine for shares.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The value that so many in a hundred do not exceed.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::result::{Emulator, Pacing, Proof, Reception, Sender, Twin};

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((quantile(&values, 50), quantile(&values, 99), quantile(&values, 100)), (100.0, 198.0, 200.0));
        assert_eq!(quantile(&[], 99), 0.0);
    }

    /// A run of two routers in which all went well, one of them a process.
    fn good() -> FleetResult {
        let reception = Reception {
            seen: 10,
            dropped: 1,
            symbols: 9,
            blocks: 1,
            decoded_blocks: 1,
            complete: true,
            completed_s: Some(1.0),
        };
        FleetResult {
            command: String::new(),
            machine: machine(),
            real: Vec::new(),
            emulated: Vec::new(),
            settings: Settings::default(),
            summary: Summary {
                receivers: 3,
                verified: 2,
                dead: 1,
                kept_up: true,
                real_receivers: 1,
                real_equal_emulated: true,
                ..Summary::default()
            },
            routers: Vec::new(),
            timeline: Vec::new(),
            sender: Sender::default(),
            pacing: Pacing::default(),
            twins: vec![Twin {
                router: 0,
                real: reception.clone(),
                emulated: reception,
                equal: true,
                socket_drops: 0,
                cpu_s: 0.0,
            }],
            proof: Proof::default(),
            emulator: Emulator::default(),
        }
    }

    #[test]
    fn what_makes_a_run_void_is_named() {
        assert_eq!(failures(&good()), Vec::<String>::new());
        let void = |damage: fn(&mut FleetResult), words: &str| {
            let mut result = good();
            damage(&mut result);
            let failures = failures(&result);
            assert!(failures.len() == 1 && failures[0].contains(words), "{failures:?}");
        };
        void(|result| result.summary.verified = 1, "1 of 2 living routers");
        void(|result| result.summary.kept_up = false, "fell behind");
        void(|result| result.twins[0].equal = false, "router 0");
        void(|result| result.proof.sampled = 1, "otherwise with bytes");
        void(|result| result.proof.failures_tried = 1, "otherwise with bytes");
    }
}
