//! The third ring of repair: what multicast did not bring is fetched from web servers, as byte ranges of the image.
//!
//! The session decides what is fetched, from whom and when; the caller polls [`ReceiverSession::poll_fetch`], fetches, and
//! gives what comes to [`ReceiverSession::on_fetched`]. Fetched symbols are kept like any others: in staging, in the journal,
//! and a block is done only when its hash matches.
//!
//! The fetching waits until multicast is of no more help, and then a random time, so that a fleet does not ask all at
//! once (3GPP TS 26.346 §9.3.4: `offsetTime` and `randomTimePeriod`).
//!
//! Servers are not trusted. Symbols of a block whose hash does not match are dropped when they were fetched, and fetched
//! from another server: what multicast brought is kept. If that does not help either, the block is fetched as a whole and
//! takes nothing else meanwhile; a server whose block is then not the right one has lied, and is asked no more. A server
//! whose symbols did not fit and another's did is asked last: that is no proof, since multicast's may be the wrong ones.

mod content_range;
mod plan;
mod server;
mod trial;

pub use content_range::ContentRange;
pub use server::{AnnouncedUrls, MAX_SERVERS, image_url};

use super::action::{Action, Store};
use super::block::Block;
use super::{BlockState, ReceiverSession};
use crate::partition::BlockRange;
use crate::random::Random;
use crate::session::schedule::SymbolId;
use server::Servers;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;
use trial::{Doubt, Trials};

/// While symbols keep coming and none of them helps, nothing is fetched for this many times the offset.
const USELESS_OFFSETS: u32 = 10;

/// What the operator decides about fetching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchConfig {
    /// URLs of the image, or of folders that hold it under its name (with a slash at the end), in the order to be asked.
    pub urls: Vec<String>,
    /// Which announced URLs are asked after those.
    pub announced: AnnouncedUrls,
    /// Multicast must have brought nothing for this long.
    pub offset: Duration,
    /// And then a random part of this passes.
    pub period: Duration,
    /// Bytes that may be fetched for one upgrade; `None` without limit.
    pub budget_bytes: Option<u64>,
    /// Seed of the random times.
    pub seed: u64,
}

/// Symbols of a block to fetch from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Of which upgrade: pass it back.
    pub generation: u32,
    /// The URL of the image.
    pub url: String,
    /// Source block number.
    pub sbn: u8,
    /// What to fetch, in order.
    pub ranges: Vec<FetchRange>,
    /// Length of the image in bytes.
    pub image_len: u64,
    /// T in bytes: the last symbol of the image may be shorter.
    pub symbol_size: u16,
}

/// Neighbouring symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRange {
    /// ESI of the first.
    pub first_esi: u32,
    /// Where they lie in the image.
    pub bytes: Range<u64>,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchEnd {
    /// As in the request.
    pub generation: u32,
    /// Bytes that came, headers included.
    pub bytes: u64,
    /// Requests that were sent.
    pub requests: u32,
    /// Whether the server failed; what it had given before is kept.
    pub failed: bool,
}

/// A server that gives wrong bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrusted {
    /// Its URL, as configured or announced.
    pub url: String,
    /// A block that it gave as a whole is wrong: it is asked no more. Else a block was right with others' symbols instead, and
    /// the others are asked first.
    pub is_proven: bool,
}

/// A fetch that is under way.
#[derive(Debug)]
struct UnderWay {
    sbn: u8,
    server: usize,
}

/// What is known for fetching.
#[derive(Debug)]
pub struct Ranges {
    config: FetchConfig,
    random: Random,
    servers: Servers,
    trials: Trials,
    under_way: Option<UnderWay>,
    /// When a symbol of the upgrade came last by multicast, helpful or not.
    heard_at: Duration,
    /// When one came last with which less was lacking than ever before.
    helped_at: Duration,
    least_lacking: u64,
    /// Offset and random part of this upgrade.
    backoff: Duration,
    spent_bytes: u64,
    is_over_budget: bool,
    distrusted: VecDeque<Distrusted>,
}

impl Ranges {
    fn new(config: FetchConfig) -> Self {
        let mut ranges = Self {
            random: Random::new(config.seed),
            servers: Servers::default(),
            trials: Trials::default(),
            under_way: None,
            heard_at: Duration::ZERO,
            helped_at: Duration::ZERO,
            least_lacking: u64::MAX,
            backoff: Duration::ZERO,
            spent_bytes: 0,
            is_over_budget: false,
            distrusted: VecDeque::new(),
            config,
        };
        ranges.restart(Duration::ZERO);
        ranges
    }

    /// Another upgrade begins: another image, so that nothing is known of the servers.
    pub(super) fn restart(&mut self, now: Duration) {
        self.servers = Servers::default();
        self.config.urls.iter().for_each(|url| self.servers.add(url));
        self.trials = Trials::default();
        self.under_way = None;
        (self.heard_at, self.helped_at, self.least_lacking) = (now, now, u64::MAX);
        self.backoff = self.config.offset + self.random.time_below(self.config.period);
        (self.spent_bytes, self.is_over_budget) = (0, false);
    }

    /// A symbol came by multicast. False when its block takes only what is fetched.
    pub(super) fn admits(&mut self, now: Duration, sbn: u8) -> bool {
        self.heard_at = now;
        !self.trials.is_exclusive(sbn)
    }

    /// The announcement named these.
    pub(super) fn announced(&mut self, urls: &[String]) {
        self.servers.announced(urls, &self.config.announced);
    }

    /// When fetching may begin, as far as multicast is concerned.
    fn backed_off_until(&self) -> Duration {
        self.heard_at.min(self.helped_at + self.config.offset * USELESS_OFFSETS) + self.backoff
    }

    fn budget_left(&self) -> u64 {
        self.config.budget_bytes.map_or(u64::MAX, |budget| budget.saturating_sub(self.spent_bytes))
    }

    fn suspect(&mut self, index: usize) {
        if self.servers.suspected(index) {
            let url = self.servers.url(index).to_owned();
            self.distrusted.push_back(Distrusted { url, is_proven: false });
        }
    }

    /// Server `index` is known to have given wrong bytes.
    fn blame(&mut self, index: usize) {
        if self.servers.lied(index) {
            let url = self.servers.url(index).to_owned();
            self.distrusted.push_back(Distrusted { url, is_proven: true });
        }
        if !self.servers.any_trusted() {
            self.trials.open_all();
        }
    }
}

impl ReceiverSession {
    /// Fetches from web servers what multicast does not bring. An image that nobody signed is never fetched: no hash
    /// would tell whether it is the right one.
    #[must_use]
    pub fn with_fetching(mut self, config: FetchConfig) -> Self {
        self.ranges = Some(Box::new(Ranges::new(config)));
        self
    }

    /// Bytes that an earlier run has fetched for the upgrade just begun: they count against the budget.
    pub fn restore_fetched_bytes(&mut self, bytes: u64) {
        if let Some(ranges) = &mut self.ranges {
            ranges.spent_bytes = bytes;
        }
    }

    /// Bytes fetched for this upgrade, by earlier runs too.
    pub fn fetched_bytes(&self) -> u64 {
        self.ranges.as_ref().map_or(0, |ranges| ranges.spent_bytes)
    }

    /// Whether something is lacking that the budget does not suffice for.
    pub fn is_over_fetch_budget(&self) -> bool {
        self.ranges.as_ref().is_some_and(|ranges| ranges.is_over_budget)
    }

    /// A server that was found to give wrong bytes, once for each and degree.
    pub fn poll_distrusted(&mut self) -> Option<Distrusted> {
        self.ranges.as_mut()?.distrusted.pop_front()
    }

    /// Until when fetching only waits for multicast; `None` when nothing will be fetched.
    pub fn fetching_waits_until(&self) -> Option<Duration> {
        let ranges = self.ranges.as_ref().filter(|ranges| ranges.servers.any_trusted() && !ranges.is_over_budget)?;
        self.is_lacking().then(|| ranges.backed_off_until())
    }

    /// When [`poll_fetch`](Self::poll_fetch) wants to be called next, if at all.
    pub fn next_fetch_at(&self) -> Option<Duration> {
        let ranges = self.ranges.as_ref().filter(|ranges| ranges.under_way.is_none() && !ranges.is_over_budget)?;
        let server_at = ranges.servers.next_at()?;
        if self.awaits_verdict(ranges) {
            return None;
        }
        self.is_lacking().then(|| ranges.backed_off_until().max(server_at))
    }

    /// Whether the first block of some server is being checked: nothing more is fetched before it is known to be right.
    fn awaits_verdict(&self, ranges: &Ranges) -> bool {
        let blocks = self.upgrade.iter().flat_map(|upgrade| &upgrade.blocks);
        (0..=u8::MAX)
            .zip(blocks)
            .filter(|(_, block)| block.state() == BlockState::Checking)
            .any(|(sbn, _)| ranges.trials.givers(sbn).iter().any(|&server| !ranges.servers.is_proven(server)))
    }

    fn is_lacking(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| {
            upgrade.delivery.signed().is_some() && upgrade.blocks.iter().any(|block| block.fetch_need() > 0)
        })
    }

    /// What to fetch now, if anything; one fetch at a time, until [`on_fetch_end`](Self::on_fetch_end).
    pub fn poll_fetch(&mut self, now: Duration) -> Option<Fetch> {
        self.note_help(now);
        if self.next_fetch_at()? > now {
            return None;
        }
        let (ranges, upgrade) = (self.ranges.as_mut()?, self.upgrade.as_mut()?);
        // The smallest deficit first: so a budget completes the most blocks.
        let needs = (0..=u8::MAX).zip(&upgrade.blocks).map(|(sbn, block)| (block.fetch_need(), sbn));
        let (need, sbn) = needs.filter(|(need, _)| *need > 0).min()?;
        let server = ranges.servers.choose(now, ranges.trials.suspects(sbn))?;
        let (range, block) = (upgrade.partition.block(sbn)?, upgrade.blocks.get_mut(usize::from(sbn))?);
        if block.is_doubtful() {
            // Some symbol that multicast brought is wrong: from one server alone it can be told whether that one is right.
            block.forget();
            ranges.trials.start_exclusive(sbn);
            self.actions.push_back(Action::Forgotten { sbn });
        }
        let planned: Vec<FetchRange> =
            plan::plan(&block.received(), need).into_iter().map(|esis| fetch_range(&range, &esis)).collect();
        let bytes: u64 = planned.iter().map(|range| range.bytes.end - range.bytes.start).sum();
        if bytes > ranges.budget_left() {
            ranges.is_over_budget = true;
            return None;
        }
        ranges.under_way = Some(UnderWay { sbn, server });
        Some(Fetch {
            generation: self.generation,
            url: image_url(ranges.servers.url(server), upgrade.delivery.name()),
            sbn,
            ranges: planned,
            image_len: upgrade.partition.image_len(),
            symbol_size: upgrade.partition.symbol_size(),
        })
    }

    /// Notes when multicast last brought the upgrade closer to its end. Symbols of blocks that have to start over do not
    /// count twice, so whoever forges them puts fetching off for a bounded time only.
    fn note_help(&mut self, now: Duration) {
        let lacking = self.lacking_symbols();
        if let Some(ranges) = self.ranges.as_mut().filter(|ranges| ranges.under_way.is_none())
            && lacking < ranges.least_lacking
        {
            ranges.least_lacking = lacking;
            ranges.helped_at = ranges.heard_at.min(now);
        }
    }

    /// Whether the fetch under way is of any use yet: multicast may have completed its block meanwhile.
    pub fn fetch_is_wanted(&self) -> bool {
        let sbn = self.ranges.as_ref().and_then(|ranges| ranges.under_way.as_ref()).map(|fetch| usize::from(fetch.sbn));
        let block = sbn.and_then(|sbn| self.upgrade.as_ref()?.blocks.get(sbn));
        block.is_some_and(|block| block.state() == BlockState::Receiving)
    }

    /// Symbol `esi` of the block being fetched came from the server. Says where it belongs, if it is wanted.
    pub fn on_fetched<'p>(&mut self, now: Duration, generation: u32, esi: u32, symbol: &'p [u8]) -> Option<Store<'p>> {
        let ranges = self.ranges.as_mut().filter(|_| generation == self.generation)?;
        let UnderWay { sbn, server } = *ranges.under_way.as_ref()?;
        let upgrade = self.upgrade.as_ref()?;
        let range = upgrade.partition.block(sbn).filter(|range| esi < range.shape.k())?;
        let expected = fetch_range(&range, &(esi..esi + 1)).bytes;
        if expected.end.checked_sub(expected.start) != Some(symbol.len() as u64) {
            return None;
        }
        let store = self.keep(now, SymbolId { sbn, esi }, &range, symbol)?;
        self.stats.fetched_symbols += 1;
        if let Some(ranges) = &mut self.ranges {
            ranges.trials.fetched(sbn, range.shape.k(), esi, server);
        }
        Some(store)
    }

    /// The fetch is over.
    pub fn on_fetch_end(&mut self, now: Duration, end: FetchEnd) {
        let lacking = self.lacking_symbols();
        self.stats.fetched_bytes += end.bytes;
        self.stats.fetch_requests += u64::from(end.requests);
        self.stats.fetch_failures += u64::from(end.failed);
        let Some(ranges) = self.ranges.as_mut().filter(|_| end.generation == self.generation) else { return };
        ranges.spent_bytes += end.bytes;
        // What was fetched is no sign that multicast helps.
        ranges.least_lacking = ranges.least_lacking.min(lacking);
        if let Some(UnderWay { server, .. }) = ranges.under_way.take() {
            if end.failed {
                ranges.servers.failed(server, now, &mut ranges.random);
            } else {
                ranges.servers.succeeded(server);
            }
        }
    }

    /// The hash of block `sbn` did not match. False when nothing of it was fetched: then it is no matter of ours.
    pub(super) fn on_corrupt_fetch(&mut self, sbn: u8) -> bool {
        let (Some(ranges), Some(upgrade)) = (&mut self.ranges, &mut self.upgrade) else { return false };
        let Some(block) = upgrade.blocks.get_mut(usize::from(sbn)) else { return false };
        match ranges.trials.corrupt(sbn, |suspects| ranges.servers.any_beside(suspects)) {
            Doubt::NothingFetched => return false,
            Doubt::Withdraw(fetched) => block.withdraw(&fetched),
            Doubt::StartOver { liar } => {
                block.forget();
                self.actions.push_back(Action::Forgotten { sbn });
                liar.into_iter().for_each(|server| ranges.blame(server));
            }
        }
        true
    }

    /// Block `sbn` is verified; `forged` when some of its symbols had to be left out.
    pub(super) fn on_verified_fetch(&mut self, now: Duration, sbn: u8, forged: bool) {
        let Some(ranges) = &mut self.ranges else { return };
        let verdict = ranges.trials.verified(sbn);
        if !forged {
            verdict.givers.into_iter().for_each(|server| ranges.servers.proved(server));
            verdict.suspects.into_iter().for_each(|server| ranges.suspect(server));
        } else {
            // It may be one of theirs that was wrong, and it may not.
            verdict.givers.into_iter().for_each(|server| ranges.servers.failed(server, now, &mut ranges.random));
        }
    }
}

/// Where the symbols `esis` of a block lie in the image: the last one of the image may be short.
fn fetch_range(block: &BlockRange, esis: &Range<u32>) -> FetchRange {
    let symbol_size = block.shape.symbol_size() as u64;
    let end = block.offset + block.len as u64;
    let at = |esi: u32| (block.offset + u64::from(esi) * symbol_size).min(end);
    FetchRange { first_esi: esis.start, bytes: at(esis.start)..at(esis.end) }
}

impl Block {
    /// Source symbols to fetch so that it can be checked.
    fn fetch_need(&self) -> u32 {
        if self.state() != BlockState::Receiving || self.is_ready(true) {
            return 0;
        }
        let received = self.received();
        if self.is_doubtful() { received.len() } else { self.wanted().min(received.len() - received.count()) }
    }
}
