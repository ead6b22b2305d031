//! Fetching from web servers that are right, fail, or lie.

use super::*;
use crate::session::receiver::ranges::{AnnouncedUrls, Distrusted, Fetch, FetchConfig, FetchEnd};

const SYMBOL: u16 = 64;
const OFFSET: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_secs(60);

/// What a server does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Honest,
    /// One byte of each symbol is wrong.
    Liar,
    /// Only the first symbol that it gives is wrong.
    SlyLiar,
    /// Gives one range and no more.
    Cut,
    Dead,
}

fn fetch_config(servers: usize, budget_bytes: Option<u64>) -> FetchConfig {
    let urls = (0..servers).map(|index| format!("http://server/{index}")).collect();
    let announced = AnnouncedUrls::Ignored;
    FetchConfig { urls, announced, offset: OFFSET, period: PERIOD, budget_bytes, seed: 5 }
}

/// A receiver and the servers it may ask.
struct World {
    image: Vec<u8>,
    receiver: Receiver,
    servers: Vec<Server>,
    /// Servers in the order in which they were asked.
    asked: Vec<usize>,
    bytes: u64,
    requests: usize,
    /// Packets that somebody keeps sending, some of them before every range that a server gives.
    flood: Vec<Vec<u8>>,
    flooded: usize,
}

impl World {
    fn new(servers: &[Server], budget_bytes: Option<u64>) -> Self {
        let mut receiver = Receiver::new();
        receiver.session = receiver.session.with_fetching(fetch_config(servers.len(), budget_bytes));
        let image = image(30_000, 1);
        Self {
            image,
            receiver,
            servers: servers.to_vec(),
            asked: Vec::new(),
            bytes: 0,
            requests: 0,
            flood: Vec::new(),
            flooded: 0,
        }
    }

    /// The image's packets of one pass, each with a wrong last byte.
    fn forged(&self) -> Vec<Vec<u8>> {
        let manifest = seal(&self.image, SYMBOL, 7, 1, &release_key());
        let is_image = |packet: &Vec<u8>| Packet::parse(packet).unwrap().header.toi == TOI_IMAGE;
        let mut packets = packets(&config(9, 1), &manifest, &self.image);
        packets.retain(is_image);
        packets.iter_mut().for_each(|packet| *packet.last_mut().unwrap() ^= 1);
        packets
    }

    fn take_flood(&mut self) {
        for _ in 0..self.flood.len().min(40) {
            let packet = self.flood[self.flooded % self.flood.len()].clone();
            self.flooded += 1;
            self.receiver.take(&packet);
        }
    }

    /// One pass reaches the receiver, except for what `is_lost` takes.
    fn send(&mut self, mut is_lost: impl FnMut(&mut Vec<u8>) -> bool) {
        let manifest = seal(&self.image, SYMBOL, 7, 1, &release_key());
        for mut packet in packets(&config(9, 1), &manifest, &self.image) {
            let is_image = Packet::parse(&packet).unwrap().header.toi == TOI_IMAGE;
            if !is_image || !is_lost(&mut packet) {
                self.receiver.take(&packet);
            }
        }
    }

    /// Fetches whatever the session wants for a day.
    fn fetch(&mut self) {
        let end = self.receiver.now + Duration::from_secs(86_400);
        self.receiver.wait(QUIET);
        while let Some(at) = self.receiver.session.next_fetch_at().filter(|at| *at < end) {
            self.receiver.now = self.receiver.now.max(at);
            match self.receiver.session.poll_fetch(self.receiver.now) {
                Some(fetch) => self.serve(&fetch),
                None => self.receiver.wait(Duration::from_millis(500)),
            }
            // Blocks that have just enough are tried when they are quiet.
            self.receiver.wait(QUIET);
        }
    }

    fn serve(&mut self, fetch: &Fetch) {
        let server: usize = fetch.url.strip_prefix("http://server/").unwrap().parse().unwrap();
        let behaviour = self.servers[server];
        self.asked.push(server);
        let mut end =
            FetchEnd { generation: fetch.generation, bytes: 0, requests: 0, failed: behaviour == Server::Dead };
        let mut is_first = true;
        for range in &fetch.ranges {
            end.requests += 1;
            self.take_flood();
            if behaviour == Server::Dead || (behaviour == Server::Cut && end.requests > 1) {
                end.failed = true;
                break;
            }
            let bytes = &self.image[range.bytes.start as usize..range.bytes.end as usize];
            end.bytes += bytes.len() as u64;
            for (symbol, esi) in bytes.chunks(usize::from(SYMBOL)).zip(range.first_esi..) {
                let mut symbol = symbol.to_vec();
                if behaviour == Server::Liar || (behaviour == Server::SlyLiar && is_first) {
                    symbol[esi as usize % 20] ^= 0x55;
                }
                is_first = false;
                let store = self.receiver.session.on_fetched(self.receiver.now, fetch.generation, esi, &symbol);
                if let Some(store) = store {
                    self.receiver.store(&store);
                }
                self.receiver.act();
            }
        }
        self.bytes += end.bytes;
        self.requests += end.requests as usize;
        self.receiver.session.on_fetch_end(self.receiver.now, end);
    }

    /// URLs of servers that lied, for sure.
    fn liars(&mut self) -> Vec<String> {
        self.distrusted().into_iter().filter(|server| server.is_proven).map(|server| server.url).collect()
    }

    fn distrusted(&mut self) -> Vec<Distrusted> {
        std::iter::from_fn(|| self.receiver.session.poll_distrusted()).collect()
    }

    #[track_caller]
    fn assert_complete(&self) {
        assert!(
            self.receiver.complete == 1 && self.receiver.image() == self.image,
            "{:?}",
            self.receiver.session.stats()
        );
    }
}

/// Loses packets at random.
fn lossy(percent: u64, seed: u64) -> impl FnMut(&mut Vec<u8>) -> bool {
    let mut random = Random::new(seed);
    move |_| random.chance(percent * 10)
}

#[test]
fn the_deficit_is_fetched_and_little_more() {
    let mut world = World::new(&[Server::Honest], None);
    world.send(lossy(40, 1));
    let lacking = world.receiver.session.lacking_symbols();
    assert!(lacking > 60, "{lacking}");
    world.fetch();
    world.assert_complete();
    // Two symbols more for each of seven blocks, and an eighth for gaps.
    let symbols = world.bytes / u64::from(SYMBOL);
    assert!((lacking..=(lacking + 14) * 9 / 8).contains(&symbols), "{symbols} fetched for {lacking}");
    assert!(world.requests < 80, "{} requests for {symbols} symbols", world.requests);
    let stats = world.receiver.session.stats();
    assert_eq!((stats.fetched_bytes, stats.corrupt_blocks), (world.bytes, 0));
    assert_eq!(world.receiver.session.fetched_bytes(), world.bytes);
}

#[test]
fn nothing_is_fetched_before_multicast_has_had_its_time() {
    let mut world = World::new(&[Server::Honest], None);
    let fetch_at = |world: &World| world.receiver.session.next_fetch_at().unwrap();
    world.send(lossy(60, 1));
    let quiet_since = world.receiver.now;
    assert!((quiet_since + OFFSET - TICK * 40..=quiet_since + OFFSET + PERIOD).contains(&fetch_at(&world)));
    assert_eq!(world.receiver.session.fetching_waits_until(), Some(fetch_at(&world)));
    world.receiver.now += OFFSET - Duration::from_secs(1);
    assert_eq!(world.receiver.session.poll_fetch(world.receiver.now), None);
    // A carousel that goes on and helps puts it off.
    world.send(lossy(60, 2));
    assert!(fetch_at(&world) >= world.receiver.now + OFFSET - TICK * 40);
    // Symbols that help no more do so only for a while: whoever repeats them cannot keep a device waiting.
    let helped_at = world.receiver.now;
    let manifest = seal(&world.image, SYMBOL, 7, 1, &release_key());
    let repeated = packets(&config(9, 1), &manifest, &world.image)
        .into_iter()
        .find(|packet| Packet::parse(packet).unwrap().header.toi == TOI_IMAGE)
        .unwrap();
    for _ in 0..2_000 {
        world.receiver.take(&repeated);
        if let Some(fetch) = world.receiver.session.poll_fetch(world.receiver.now) {
            world.serve(&fetch);
            break;
        }
        world.receiver.now += Duration::from_secs(1);
    }
    let waited = world.receiver.now - helped_at;
    assert!((OFFSET * 10..=OFFSET * 12 + PERIOD).contains(&waited), "{waited:?}");
}

#[test]
fn a_receiver_that_hears_nothing_completes_from_what_an_earlier_run_had_begun() {
    let mut world = World::new(&[Server::Honest], None);
    let manifest = seal(&world.image, SYMBOL, 7, 1, &release_key());
    world.receiver.session.resume(Duration::ZERO, manifest.bytes(), &[]).unwrap();
    world.receiver.act();
    world.fetch();
    world.assert_complete();
    assert_eq!((world.bytes, world.requests), (30_000, 7), "each block is one range");
    assert!(world.receiver.now >= OFFSET && world.receiver.now < OFFSET + PERIOD + QUIET * 20);
}

#[test]
fn who_lies_is_found_and_asked_no_more_and_multicast_s_symbols_stay() {
    for liar in [Server::Liar, Server::SlyLiar] {
        let mut world = World::new(&[liar, Server::Honest], None);
        world.send(lossy(70, 1));
        let kept = world.receiver.session.stats().symbols;
        world.fetch();
        world.assert_complete();
        if liar == Server::Liar {
            assert_eq!(world.distrusted()[0].url, "http://server/0");
            assert_eq!(world.asked[..2], [0, 1]);
            assert!(world.asked[2..].iter().all(|&server| server == 1), "{:?}", world.asked);
        }
        let needed = world.image.len() as u64 / u64::from(SYMBOL) - kept;
        let from_honest = world.receiver.session.stats().fetched_symbols;
        assert!(from_honest < needed * 2 + 200, "{from_honest} fetched where {needed} were lacking");
    }
}

#[test]
fn the_only_server_lies_and_multicast_completes_in_the_end() {
    let mut world = World::new(&[Server::Liar], None);
    world.send(lossy(60, 1));
    world.fetch();
    assert_eq!((world.liars(), world.receiver.complete), (vec!["http://server/0".to_owned()], 0));
    assert_eq!(world.receiver.session.next_fetch_at(), None, "nobody is left to ask");
    world.send(lossy(0, 1));
    world.assert_complete();
}

#[test]
fn what_others_forged_by_multicast_is_replaced_from_a_server() {
    let mut world = World::new(&[Server::Honest], None);
    // Every tenth symbol is forged: far too many to be found.
    let mut nth = 0;
    world.send(|packet| {
        nth += 1;
        let last = packet.len() - 1 - nth % 30;
        packet[last] ^= u8::from(nth % 10 == 0);
        false
    });
    assert_eq!(world.receiver.complete, 0);
    world.fetch();
    world.assert_complete();
    assert_eq!(world.liars(), [""; 0]);
    assert!(world.bytes < 2 * 30_000, "{}", world.bytes);
}

/// A block that starts over takes nothing but what is fetched: else a forger could make an honest server look like a liar.
#[test]
fn whoever_keeps_forging_while_a_server_gives_neither_spoils_a_block_nor_blames_the_server() {
    let mut world = World::new(&[Server::Honest], None);
    world.flood = world.forged();
    let mut nth = 0;
    world.send(|packet| {
        nth += 1;
        let last = packet.len() - 1;
        packet[last] ^= u8::from(nth % 10 == 0);
        false
    });
    world.fetch();
    assert!(world.flooded > 200, "{}", world.flooded);
    world.assert_complete();
    assert_eq!(world.liars(), [""; 0]);
}

#[test]
fn a_budget_completes_the_blocks_that_lack_least_and_is_never_passed() {
    let mut world = World::new(&[Server::Honest], Some(4_000));
    world.send(lossy(50, 1));
    let before = world.receiver.session.stats().verified_blocks;
    world.fetch();
    let stats = *world.receiver.session.stats();
    assert!(world.bytes <= 4_000 && world.bytes > 2_000, "{}", world.bytes);
    assert!(stats.verified_blocks > before && world.receiver.complete == 0);
    assert!(world.receiver.session.is_over_fetch_budget());
    assert_eq!((world.receiver.session.next_fetch_at(), world.receiver.session.fetching_waits_until()), (None, None));
    // An earlier run had spent it.
    let mut world = World::new(&[Server::Honest], Some(4_000));
    world.send(lossy(50, 1));
    world.receiver.session.restore_fetched_bytes(3_990);
    world.fetch();
    assert_eq!(world.requests, 0);
}

#[test]
fn announced_urls_count_only_from_the_session_s_own_source() {
    let urls = ["http://10.77.0.1:8080/image".to_owned(), "http://victim/".to_owned()];
    let source = "10.77.0.1".parse().unwrap();
    for (announced, first) in [
        (AnnouncedUrls::OfSources(vec![source]), Some("http://10.77.0.1:8080/image")),
        (AnnouncedUrls::OfSources(vec!["10.77.0.9".parse().unwrap()]), None),
        (AnnouncedUrls::Ignored, None),
    ] {
        let mut world = World::new(&[], None);
        let config = FetchConfig { announced, ..fetch_config(0, None) };
        world.receiver.session = Receiver::new().session.with_fetching(config);
        world.send(lossy(90, 1));
        world.receiver.session.ranges.as_mut().unwrap().announced(&urls);
        world.receiver.now += OFFSET + PERIOD;
        let fetch = world.receiver.session.poll_fetch(world.receiver.now);
        assert_eq!(fetch.map(|fetch| fetch.url).as_deref(), first);
    }
}

#[test]
fn what_comes_for_another_upgrade_or_does_not_fit_is_dropped() {
    let mut world = World::new(&[Server::Honest], None);
    world.send(lossy(90, 1));
    world.receiver.now += OFFSET + PERIOD;
    let session = &mut world.receiver.session;
    let now = world.receiver.now;
    assert_eq!(session.on_fetched(now, session.generation(), 0, &[0; 64]), None, "nothing was asked for");
    let fetch = session.poll_fetch(now).unwrap();
    assert_eq!(session.poll_fetch(now), None, "one at a time");
    let esi = fetch.ranges[0].first_esi;
    for (generation, esi, len) in [
        (fetch.generation + 1, esi, 64),
        (fetch.generation, esi, 63),
        (fetch.generation, esi, 65),
        (fetch.generation, u32::MAX, 64),
        (fetch.generation, 100_000, 64),
        (fetch.generation, 100_000, 0),
    ] {
        assert_eq!(session.on_fetched(now, generation, esi, &vec![0; len]), None);
    }
    assert!(session.on_fetched(now, fetch.generation, esi, &[0; 64]).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With one honest server among any others, whatever was lost or forged: the right image, within the budget if there is one
    /// that suffices.
    #[test]
    fn one_honest_server_is_enough(
        others in prop::collection::vec(
            prop_oneof![Just(Server::Liar), Just(Server::SlyLiar), Just(Server::Cut), Just(Server::Dead)], 0..4),
        at in any::<prop::sample::Index>(), loss in 0u64..=100, forged_permille in prop_oneof![Just(0u64), 0u64..100],
        seed: u64,
    ) {
        let mut servers = others;
        servers.insert(at.index(servers.len() + 1), Server::Honest);
        let mut world = World::new(&servers, None);
        let mut random = Random::new(seed);
        world.send(|packet| {
            let last = packet.len() - 1;
            packet[last] ^= u8::from(random.chance(forged_permille));
            random.chance(loss * 10)
        });
        world.fetch();
        prop_assert!(world.receiver.complete == 1 && world.receiver.image() == world.image, "{:?}", world.receiver.session.stats());
        for liar in world.liars() {
            let index: usize = liar.strip_prefix("http://server/").unwrap().parse().unwrap();
            prop_assert!(matches!(servers[index], Server::Liar | Server::SlyLiar), "{liar} is no liar");
        }
    }
}
