//! A bounded cache of what is computed once per K'.
//!
//! All blocks of an image have one of two values of K, and the plan of a K' costs as much as encoding a few blocks, so
//! threads share it. The lock is held for a look-up only: one thread generates the plan of a K' while others that want the
//! same one wait for it, and nobody else does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Plans kept: those of two images of two values of K each. A plan takes some 50 bytes a symbol.
const MAX_PLANS: usize = 4;

/// The plans of the last [`MAX_PLANS`] values of K' that were asked for.
pub(crate) struct PlanCache<P> {
    /// Most recently used last.
    slots: Mutex<VecDeque<Slot<P>>>,
}

struct Slot<P> {
    k_prime: usize,
    plan: Arc<OnceLock<Arc<P>>>,
}

impl<P> PlanCache<P> {
    pub(crate) fn new() -> Self {
        Self { slots: Mutex::new(VecDeque::with_capacity(MAX_PLANS)) }
    }

    /// The plan of `k_prime`, from `generate` when the cache does not have it.
    pub(crate) fn get(&self, k_prime: usize, generate: impl FnOnce() -> P) -> Arc<P> {
        let plan = self.slot(k_prime);
        Arc::clone(plan.get_or_init(|| Arc::new(generate())))
    }

    /// The slot of `k_prime`, empty when it is new. An evicted plan lives on with the threads that are using it.
    fn slot(&self, k_prime: usize) -> Arc<OnceLock<Arc<P>>> {
        // A panic under the lock leaves the queue as it was or without one slot: both are good.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let found = slots.iter().position(|slot| slot.k_prime == k_prime).and_then(|index| slots.remove(index));
        let slot = found.unwrap_or_else(|| Slot { k_prime, plan: Arc::default() });
        if slots.len() == MAX_PLANS {
            slots.pop_front();
        }
        let plan = Arc::clone(&slot.plan);
        slots.push_back(slot);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn threads_that_want_one_plan_generate_it_once() {
        let cache = PlanCache::new();
        let generated = AtomicU32::new(0);
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let plan = cache.get(7, || {
                        thread::yield_now();
                        generated.fetch_add(1, Ordering::Relaxed)
                    });
                    assert_eq!(*plan, 0);
                });
            }
        });
        assert_eq!(generated.into_inner(), 1);
    }

    #[test]
    fn plans_of_different_k_are_generated_in_parallel() {
        let cache = PlanCache::new();
        // Both generators must be running before either returns: a lock over generation would hang here.
        let both_running = Barrier::new(2);
        thread::scope(|scope| {
            for k in [10, 11] {
                let (cache, both_running) = (&cache, &both_running);
                scope.spawn(move || {
                    let plan = cache.get(k, || {
                        both_running.wait();
                        k
                    });
                    assert_eq!(*plan, k);
                });
            }
        });
    }

    #[test]
    fn the_plan_used_longest_ago_is_dropped() {
        let cache = PlanCache::new();
        let generated = AtomicU32::new(0);
        let get = |k| {
            cache.get(k, || generated.fetch_add(1, Ordering::Relaxed));
            generated.load(Ordering::Relaxed)
        };
        assert_eq!((get(1), get(2), get(3), get(4)), (1, 2, 3, 4));
        assert_eq!(get(1), 4, "kept");
        assert_eq!(get(5), 5, "drops 2");
        assert_eq!((get(1), get(3), get(4), get(5)), (5, 5, 5, 5));
        assert_eq!(get(2), 6, "was dropped");
        assert_eq!(cache.slots.lock().expect("no thread panicked").len(), MAX_PLANS);
    }
}
