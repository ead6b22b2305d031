//! The few objects that were touched last.

/// Up to a number of values by key; the least recently touched gives way.
#[derive(Debug, Clone)]
pub(crate) struct Recent<K, V> {
    capacity: usize,
    /// Least recently touched first.
    entries: Vec<(K, V)>,
}

impl<K: PartialEq, V> Recent<K, V> {
    /// Nothing yet; at least one value is held.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: Vec::new() }
    }

    /// The value of `key`, made now if it is not there; it is the most recently touched one.
    pub fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let entry = match self.entries.iter().position(|(known, _)| *known == key) {
            Some(at) => self.entries.remove(at),
            None => {
                if self.entries.len() >= self.capacity {
                    self.entries.remove(0);
                }
                (key, make())
            }
        };
        &mut self.entries.push_mut(entry).1
    }

    /// Forgets the most recently touched value if it is such.
    pub fn forget_last_if(&mut self, is_such: impl FnOnce(&V) -> bool) {
        self.entries.pop_if(|(_, value)| is_such(value));
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Values held.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
