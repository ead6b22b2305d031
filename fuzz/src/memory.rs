//! How much memory the code under test holds.

use cap::Cap;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Measures what was allocated and not freed since it was made, by all threads.
#[derive(Debug)]
pub struct Meter {
    before: usize,
}

impl Meter {
    pub fn start() -> Self {
        Self { before: ALLOCATOR.allocated() }
    }

    /// Bytes held now beyond those held at the start.
    pub fn held(&self) -> usize {
        ALLOCATOR.allocated().saturating_sub(self.before)
    }
}
