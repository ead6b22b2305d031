//! Who gave which symbols of a block, so that it can be told who is wrong when the block's hash does not match.

use fleetcast_fec::SymbolSet;
use std::collections::BTreeMap;

/// Blocks of which something was fetched, by SBN.
#[derive(Debug, Default)]
pub struct Trials(BTreeMap<u8, Trial>);

#[derive(Debug, Default)]
struct Trial {
    /// Source symbols that were fetched and are held.
    fetched: Option<SymbolSet>,
    /// Who gave them.
    givers: Vec<usize>,
    /// Whose symbols were withdrawn before.
    suspects: Vec<usize>,
    /// It takes nothing but what is fetched, and holds nothing else.
    is_exclusive: bool,
}

/// What to do with a block whose hash did not match.
#[derive(Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing of it was fetched.
    NothingFetched,
    /// Drop these: they were fetched. What multicast brought stays.
    Withdraw(SymbolSet),
    /// Drop everything.
    StartOver {
        /// This server gave the whole block, so it has lied.
        liar: Option<usize>,
    },
}

/// What a verified block says of those who gave symbols of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// They gave symbols that are there.
    pub givers: Vec<usize>,
    /// Their symbols were withdrawn, and with others' instead the block is right. No proof: it may be that a wrong symbol of
    /// multicast's is now not needed.
    pub suspects: Vec<usize>,
}

impl Trials {
    /// Servers whose symbols of block `sbn` were withdrawn.
    pub fn suspects(&self, sbn: u8) -> &[usize] {
        self.0.get(&sbn).map_or(&[], |trial| &trial.suspects)
    }

    /// Who gave symbols that block `sbn` holds.
    pub fn givers(&self, sbn: u8) -> &[usize] {
        self.0.get(&sbn).map_or(&[], |trial| &trial.givers)
    }

    /// Whether block `sbn` takes only what is fetched.
    pub fn is_exclusive(&self, sbn: u8) -> bool {
        self.0.get(&sbn).is_some_and(|trial| trial.is_exclusive)
    }

    /// Block `sbn` starts over, and takes only what is fetched.
    pub fn start_exclusive(&mut self, sbn: u8) {
        let suspects = self.0.remove(&sbn).map(|trial| trial.suspects).unwrap_or_default();
        self.0.insert(sbn, Trial { suspects, is_exclusive: true, ..Trial::default() });
    }

    /// There is nobody to fetch from any more: all blocks take what multicast brings.
    pub fn open_all(&mut self) {
        self.0.values_mut().for_each(|trial| trial.is_exclusive = false);
    }

    /// `server` gave symbol `esi` of block `sbn`, which has `k`.
    pub fn fetched(&mut self, sbn: u8, k: u32, esi: u32, server: usize) {
        let trial = self.0.entry(sbn).or_default();
        trial.fetched.get_or_insert_with(|| SymbolSet::new(k)).insert(esi);
        if !trial.givers.contains(&server) {
            trial.givers.push(server);
        }
    }

    /// The hash of block `sbn` did not match; `any_beside` says whether a server is left that is not among those given.
    pub fn corrupt(&mut self, sbn: u8, any_beside: impl FnOnce(&[usize]) -> bool) -> Doubt {
        let Some(trial) = self.0.get_mut(&sbn) else { return Doubt::NothingFetched };
        let Some(fetched) = trial.fetched.take() else { return Doubt::NothingFetched };
        let givers = std::mem::take(&mut trial.givers);
        let was_doubted = !trial.suspects.is_empty();
        trial.suspects.extend(givers.iter().filter(|giver| !trial.suspects.contains(giver)).collect::<Vec<_>>());
        if trial.is_exclusive {
            let liar = <[usize; 1]>::try_from(givers).ok().map(|[giver]| giver);
            return Doubt::StartOver { liar };
        }
        if was_doubted || !any_beside(&trial.suspects) {
            trial.is_exclusive = true;
            return Doubt::StartOver { liar: None };
        }
        Doubt::Withdraw(fetched)
    }

    /// Block `sbn` is verified.
    pub fn verified(&mut self, sbn: u8) -> Verdict {
        let Some(trial) = self.0.remove(&sbn) else { return Verdict::default() };
        // Fetched as a whole, it says nothing of those before: multicast may have been wrong.
        let suspects = if trial.is_exclusive || trial.fetched.is_none() { Vec::new() } else { trial.suspects };
        let suspects = suspects.into_iter().filter(|suspect| !trial.givers.contains(suspect)).collect();
        Verdict { givers: trial.givers, suspects }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(esis: &[u32]) -> SymbolSet {
        let mut set = SymbolSet::new(10);
        esis.iter().for_each(|&esi| {
            set.insert(esi);
        });
        set
    }

    #[test]
    fn the_fetched_symbols_go_first_and_the_block_next() {
        let mut trials = Trials::default();
        assert_eq!(trials.corrupt(3, |_| true), Doubt::NothingFetched);
        trials.fetched(3, 10, 4, 0);
        trials.fetched(3, 10, 7, 0);
        assert_eq!(trials.corrupt(3, |suspects| suspects == [0]), Doubt::Withdraw(set(&[4, 7])));
        assert_eq!(trials.suspects(3), [0]);
        trials.fetched(3, 10, 4, 1);
        assert_eq!(trials.corrupt(3, |_| true), Doubt::StartOver { liar: None });
        assert!(trials.is_exclusive(3) && !trials.is_exclusive(4));
        trials.fetched(3, 10, 0, 2);
        assert_eq!(trials.corrupt(3, |_| true), Doubt::StartOver { liar: Some(2) });
        assert!(trials.is_exclusive(3));
        trials.open_all();
        assert!(!trials.is_exclusive(3));
    }

    #[test]
    fn with_nobody_else_to_ask_the_block_starts_over_at_once() {
        let mut trials = Trials::default();
        trials.fetched(0, 10, 4, 0);
        assert_eq!(trials.corrupt(0, |_| false), Doubt::StartOver { liar: None });
        // Two gave it: either may have lied.
        trials.fetched(0, 10, 4, 0);
        trials.fetched(0, 10, 5, 1);
        assert_eq!(trials.corrupt(0, |_| false), Doubt::StartOver { liar: None });
    }

    #[test]
    fn a_block_that_is_right_with_another_s_symbols_says_who_may_have_lied() {
        let mut trials = Trials::default();
        trials.fetched(0, 10, 4, 0);
        trials.corrupt(0, |_| true);
        trials.fetched(0, 10, 4, 1);
        assert_eq!(trials.verified(0), Verdict { givers: vec![1], suspects: vec![0] });
        assert_eq!(trials.verified(0), Verdict::default());
        trials.fetched(1, 10, 4, 0);
        trials.corrupt(1, |_| false);
        trials.fetched(1, 10, 4, 1);
        assert_eq!(trials.verified(1), Verdict { givers: vec![1], suspects: vec![] });
        // Multicast completed it in the end: the same doubt as before.
        trials.fetched(2, 10, 4, 0);
        trials.corrupt(2, |_| true);
        assert_eq!(trials.verified(2), Verdict::default());
    }
}
