//! The program in the kernel, loaded by aya, as the receiver does, and by libbpf; the second one's maps are written byte by
//! byte, so that the layout is also said twice.

use crate::model::Guarded;
use fleetcast_ebpf::program::{NAME, OBJECT};
use fleetcast_ebpf::{Counters, Program, Verdict};
use libbpf_rs::{MapCore as _, MapFlags, Object, ObjectBuilder, ProgramInput, ProgramMut};
use std::ffi::OsStr;
use std::net::IpAddr;

const XDP_PASS: u32 = 2;

/// A loaded program.
pub trait Kernel {
    /// Runs it once: does the frame pass?
    fn passes(&mut self, frame: &[u8]) -> bool;
    /// Packets by verdict, in the order of [`Verdict::ALL`].
    fn counts(&self) -> [u64; 9];

    /// Runs it once: what did it find the frame to be? Nothing, if it passed uncounted.
    fn judge(&mut self, frame: &[u8]) -> Option<Verdict> {
        let before = self.counts();
        let passes = self.passes(frame);
        let after = self.counts();
        let counted: Vec<usize> = (0..9).filter(|&at| after[at] != before[at]).collect();
        assert!(counted.len() <= 1 && counted.iter().all(|&at| after[at] == before[at] + 1), "{before:?} {after:?}");
        let verdict = counted.first().map(|&at| Verdict::ALL[at]);
        assert_eq!(passes, verdict.is_none_or(|verdict| !verdict.is_drop()), "{verdict:?}");
        verdict
    }
}

pub struct Aya(pub Program);

impl Aya {
    pub fn load(guarded: &Guarded) -> Self {
        let mut program = Program::load().unwrap();
        for channel in &guarded.channels {
            program.guard(*channel, guarded.exclusive.contains(&channel.group())).unwrap();
        }
        Self(program)
    }
}

impl Kernel for Aya {
    fn passes(&mut self, frame: &[u8]) -> bool {
        self.0.run(frame, 1).unwrap().passes
    }

    fn counts(&self) -> [u64; 9] {
        let counters: Counters = self.0.counters().unwrap();
        Verdict::ALL.map(|verdict| counters.of(verdict))
    }
}

pub struct Libbpf(Object);

impl Libbpf {
    pub fn load(guarded: &Guarded) -> Self {
        let object = ObjectBuilder::default().name("filter").unwrap().open_memory(OBJECT).unwrap().load().unwrap();
        let this = Self(object);
        for channel in &guarded.channels {
            let mut of_group: Vec<_> = guarded.channels.iter().filter(|it| it.group() == channel.group()).collect();
            of_group.sort();
            let family: u16 = if channel.group().is_ipv4() { 2 } else { 10 };
            let mut port_key = [0; 40];
            port_key[..2].copy_from_slice(&family.to_ne_bytes());
            port_key[2..4].copy_from_slice(&channel.port().to_be_bytes());
            put(&mut port_key[8..24], channel.group());
            let mut key = port_key;
            put(&mut key[24..], channel.source());
            for key in [key, port_key] {
                this.update("channels", &key, &[0; 16]);
            }
            let flags = u16::from(of_group.len() > 1) + 2 * u16::from(guarded.exclusive.contains(&channel.group()));
            let (map, at, len) = if family == 2 { ("groups_v4", 4, 8) } else { ("groups_v6", 8, 24) };
            let mut guard = vec![0; len];
            guard[..2].copy_from_slice(&of_group[0].port().to_be_bytes());
            guard[2..4].copy_from_slice(&flags.to_ne_bytes());
            put(&mut guard[at..], of_group[0].source());
            let mut group = vec![0; if family == 2 { 4 } else { 16 }];
            put(&mut group, channel.group());
            this.update(map, &group, &guard);
        }
        this
    }

    fn update(&self, map: &str, key: &[u8], value: &[u8]) {
        let map = self.0.maps().find(|it| it.name() == OsStr::new(map)).unwrap();
        map.update(key, value, MapFlags::ANY).unwrap();
    }
}

impl Kernel for Libbpf {
    fn passes(&mut self, frame: &[u8]) -> bool {
        let program: ProgramMut<'_> = self.0.progs_mut().find(|it| it.name() == OsStr::new(NAME)).unwrap();
        let output = program.test_run(ProgramInput { data_in: Some(frame), ..ProgramInput::default() }).unwrap();
        output.return_value == XDP_PASS
    }

    fn counts(&self) -> [u64; 9] {
        let map = self.0.maps().find(|it| it.name() == OsStr::new("packets")).unwrap();
        Verdict::ALL.map(|verdict| {
            let cpus = map.lookup_percpu(&(verdict as u32).to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
            cpus.iter().map(|cpu| u64::from_ne_bytes(*cpu.first_chunk().unwrap())).sum()
        })
    }
}

fn put(bytes: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[..16].copy_from_slice(&address.octets()),
    }
}
