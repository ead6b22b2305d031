//! What became of packets to multicast groups: `enum verdict` of `filter.bpf.c`.

/// What the filter found a packet to be. Packets to no multicast group are not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Verdict {
    /// Of a guarded channel; passed.
    Accepted,
    /// To a group that is not guarded; passed.
    OtherGroup,
    /// UDP to a guarded group, to a port that is not; passed.
    OtherPort,
    /// To a guarded group and no UDP (IGMP, MLD); passed.
    NotUdp,
    /// To a guarded group and port from a source that may not send there; dropped.
    WrongSource,
    /// A fragment of a datagram to a guarded group; dropped.
    Fragment,
    /// To a guarded group, and its headers or lengths cannot be right; dropped.
    Malformed,
    /// Of a guarded channel, but with another LCT version than 1; dropped.
    BadLctVersion,
    /// UDP to another port of a group that is guarded exclusively; dropped.
    ExclusivePort,
}

impl Verdict {
    /// All, in the program's order.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::OtherGroup,
        Self::OtherPort,
        Self::NotUdp,
        Self::WrongSource,
        Self::Fragment,
        Self::Malformed,
        Self::BadLctVersion,
        Self::ExclusivePort,
    ];

    /// The name in JSON and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::OtherGroup => "other_group",
            Self::OtherPort => "other_port",
            Self::NotUdp => "not_udp",
            Self::WrongSource => "wrong_source",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::BadLctVersion => "bad_lct_version",
            Self::ExclusivePort => "exclusive_port",
        }
    }

    /// Whether such a packet is dropped.
    pub fn is_drop(self) -> bool {
        !matches!(self, Self::Accepted | Self::OtherGroup | Self::OtherPort | Self::NotUdp)
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// Packets by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters([u64; Verdict::ALL.len()]);

impl Counters {
    /// Packets with this verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// Packets dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        Verdict::ALL.into_iter().filter(|verdict| verdict.is_drop()).map(|verdict| self.of(verdict)).sum()
    }

    /// Adds what a CPU has counted of a verdict.
    pub(crate) fn add(&mut self, verdict: Verdict, packets: u64) {
        let total = &mut self.0[verdict as usize];
        *total = total.wrapping_add(packets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_program() {
        let source = include_str!("filter.bpf.c");
        let (_, list) = source.split_once("enum verdict {").unwrap();
        let (list, _) = list.split_once("VERDICTS").unwrap();
        let names: Vec<_> =
            list.split(',').map(|name| name.trim().to_lowercase()).filter(|it| !it.is_empty()).collect();
        assert_eq!(names, Verdict::ALL.map(Verdict::name));
        for (number, verdict) in (0..).zip(Verdict::ALL) {
            assert_eq!((verdict as u32, Verdict::from_number(number)), (number, Some(verdict)));
        }
        assert_eq!(Verdict::from_number(9), None);
        assert_eq!(crate::maps::SHAPES[3].entries as usize, Verdict::ALL.len());
    }

    #[test]
    fn sums_what_is_added_and_knows_what_is_a_drop() {
        let mut counters = Counters::default();
        for (verdict, packets) in [(Verdict::WrongSource, 7), (Verdict::Accepted, 2), (Verdict::WrongSource, 7)] {
            counters.add(verdict, packets);
        }
        let (wrong, accepted) = (counters.of(Verdict::WrongSource), counters.of(Verdict::Accepted));
        assert_eq!((wrong, accepted, counters.dropped()), (14, 2, 14));
    }
}
