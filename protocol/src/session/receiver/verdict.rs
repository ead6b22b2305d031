//! From enough symbols of a block to the word on it: verified, or what is to be done about it.

use super::ReceiverSession;
use super::action::{Action, BlockCheck, BlockOutcome};
use std::time::Duration;

impl ReceiverSession {
    /// Queues the check of a block. The store that completed it is returned before the action can be polled.
    pub(super) fn check(&mut self, sbn: u8) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let (Some(range), Some(block)) = (upgrade.partition.block(sbn), upgrade.blocks.get_mut(usize::from(sbn)))
        else {
            return;
        };
        let sha256 = upgrade.delivery.block_sha256(sbn);
        block.start_check();
        let (received, parked) = block.symbols();
        self.actions.push_back(Action::Check(BlockCheck {
            generation: self.generation,
            range,
            sha256,
            received,
            parked,
        }));
    }

    /// A block was checked.
    pub fn on_block(&mut self, now: Duration, generation: u32, sbn: u8, outcome: BlockOutcome) {
        if generation != self.generation {
            return;
        }
        let Some(block) = self.upgrade.as_mut().and_then(|upgrade| upgrade.blocks.get_mut(usize::from(sbn))) else {
            return;
        };
        match outcome {
            BlockOutcome::Verified { decoded, forged_symbols } => {
                block.verified();
                self.stats.forged_symbols += u64::from(forged_symbols);
                self.stats.verified_blocks += 1;
                self.stats.decoded_blocks += u32::from(decoded);
                self.last_progress_at = now;
                self.on_verified_fetch(now, sbn, forged_symbols > 0);
                self.finish_if_complete();
            }
            BlockOutcome::Singular => {
                self.stats.singular_decodes += 1;
                if !block.need_more() {
                    self.actions.push_back(Action::Forgotten { sbn });
                }
            }
            BlockOutcome::Corrupt => {
                self.stats.corrupt_blocks += u32::from(!block.is_doubtful());
                if self.on_corrupt_fetch(sbn) {
                    return;
                }
                let doubted = self.upgrade.as_mut().and_then(|upgrade| upgrade.blocks.get_mut(usize::from(sbn)));
                if doubted.is_some_and(|block| !block.doubt()) {
                    self.actions.push_back(Action::Forgotten { sbn });
                }
            }
        }
    }
}
