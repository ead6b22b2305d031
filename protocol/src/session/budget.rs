//! So many in a period: what strangers can make a session do is bounded in time.

use std::time::Duration;

/// A number of things that may be done in each period.
#[derive(Debug)]
pub struct Budget {
    most: u32,
    period: Duration,
    left: u32,
    ends: Duration,
}

impl Budget {
    /// At most `most` things in each `period`.
    pub fn new(most: u32, period: Duration) -> Self {
        Self { most, period, left: 0, ends: Duration::ZERO }
    }

    /// Whether one more may be done at `now`; it then counts as done.
    pub fn spend(&mut self, now: Duration) -> bool {
        if now >= self.ends {
            (self.left, self.ends) = (self.most, now + self.period);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_spent_and_renewed() {
        let mut budget = Budget::new(2, Duration::from_secs(1));
        let spent = |budget: &mut Budget, ms| [(); 3].map(|()| budget.spend(Duration::from_millis(ms)));
        assert_eq!(spent(&mut budget, 500), [true, true, false]);
        assert_eq!(spent(&mut budget, 1499), [false; 3]);
        assert_eq!(spent(&mut budget, 1500), [true, true, false]);
    }
}
