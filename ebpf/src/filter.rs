//! A filter at work on an interface: one of our own, or a place in that of another fleetcast process.

use crate::channel::Channel;
use crate::counters::Counters;
use crate::error::{FilterError, Occupant, failed, io_error};
use crate::interface::{self, Attached};
use crate::maps::{Lease, Maps, SHAPES, Shape};
use crate::program::{NAME, Program};
use crate::sample::Sample;
use aya::maps::{Map, MapData, MapError, MapInfo};
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, ProgramInfo, XdpMode, loaded_programs};

/// How long a guest's channels hold without [`Filter::keep`].
pub const LEASE_S: u64 = 5;
const NEEDS_ATTACH: &str = "CAP_BPF CAP_NET_ADMIN";
const NEEDS_IDS: &str = "CAP_SYS_ADMIN";

/// Guards channels on one interface until it is dropped, or its process ends in whatever way.
pub struct Filter {
    place: Place,
    channels: Vec<Channel>,
    exclusive: bool,
    interface_index: u32,
    program_id: u32,
}

enum Place {
    /// The program is ours; the link's file descriptor holds it to the interface.
    Owner { program: Box<Program>, _link: FdLink },
    /// Another process has attached it.
    Guest { maps: Box<Maps> },
}

impl Filter {
    /// Attaches the filter to an interface natively, or takes a place in the one that is there. It guards nothing yet;
    /// `exclusive` means that datagrams to other ports of its groups are dropped too.
    ///
    /// # Errors
    /// [`FilterError::NotPermitted`], [`FilterError::NoNativeMode`], [`FilterError::Occupied`] by a program that is not
    /// ours, and what else the kernel refuses.
    pub fn open(interface: &str, interface_index: u32, exclusive: bool) -> Result<Self, FilterError> {
        let (place, program_id) = match interface::attached_to(interface_index)? {
            Some(there) => Self::join(&there)?,
            None => Self::attach(interface, interface_index)?,
        };
        Ok(Self { place, channels: Vec::new(), exclusive, interface_index, program_id })
    }

    fn attach(interface: &str, interface_index: u32) -> Result<(Place, u32), FilterError> {
        let mut program = Box::new(Program::load()?);
        let xdp = program.xdp_mut()?;
        let attached = xdp.attach_to_if_index(interface_index, XdpMode::Driver);
        let id = attached.map_err(|error| refused(error, interface, interface_index))?;
        let link: XdpLink = xdp.take_link(id).map_err(failed("attach the filter", NEEDS_ATTACH))?;
        // What is not a bpf_link is detached again when it is dropped here.
        let link = FdLink::try_from(link).map_err(|_| FilterError::NoLink)?;
        let program_id = program.id()?;
        Ok((Place::Owner { program, _link: link }, program_id))
    }

    fn join(there: &Attached) -> Result<(Place, u32), FilterError> {
        let &[program_id] = there.program_ids.as_slice() else { return Err(occupied(there)) };
        let Some(program) = info_of(program_id)? else { return Err(occupied(there)) };
        let Some(maps) = maps_of(&program)? else { return Err(occupied(there)) };
        Ok((Place::Guest { maps: Box::new(maps) }, program_id))
    }

    /// Whether the program was attached by another process.
    pub fn is_guest(&self) -> bool {
        matches!(self.place, Place::Guest { .. })
    }

    /// The other process that has attached it, if that is known.
    pub fn owner_pid(&self) -> Option<u32> {
        match &self.place {
            Place::Owner { .. } => None,
            Place::Guest { maps } => maps.owner_pid().ok().flatten(),
        }
    }

    /// The kernel's number of the program.
    pub fn program_id(&self) -> u32 {
        self.program_id
    }

    /// Lets a channel in, and shuts its group and port to all others.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn guard(&mut self, channel: Channel) -> Result<(), FilterError> {
        let (lease, exclusive) = (self.lease(), self.exclusive);
        self.maps_mut().guard(channel, lease, exclusive)?;
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
        }
        Ok(())
    }

    /// Stops guarding a channel; packets to its group and port pass again, if no other channel holds them.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn unguard(&mut self, channel: Channel) -> Result<(), FilterError> {
        self.channels.retain(|it| *it != channel);
        self.maps_mut().unguard(channel)
    }

    /// To be called every second or so: prolongs a guest's leases, and takes away those that ended.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn keep(&mut self) -> Result<(), FilterError> {
        match &mut self.place {
            Place::Owner { program, .. } => program.maps.expire(),
            Place::Guest { maps } => {
                let lease = Lease::Seconds(LEASE_S);
                self.channels.iter().try_for_each(|channel| maps.guard(*channel, lease, self.exclusive))
            }
        }
    }

    /// Whether the program is still on the interface: a guest's ends with its owner, any with its interface.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn is_at_work(&self) -> Result<bool, FilterError> {
        let there = interface::attached_to(self.interface_index)?;
        Ok(there.is_some_and(|it| it.program_ids.contains(&self.program_id)))
    }

    /// What it has counted since it was attached, for all its channels together.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn counters(&self) -> Result<Counters, FilterError> {
        match &self.place {
            Place::Owner { program, .. } => program.maps.counters(),
            Place::Guest { maps } => maps.counters(),
        }
    }

    /// Drops that were kept for the log since the last call, at most `most`. A guest sees none.
    pub fn samples(&mut self, most: usize) -> Vec<Sample> {
        match &mut self.place {
            Place::Owner { program, .. } => program.samples(most),
            Place::Guest { .. } => Vec::new(),
        }
    }

    fn lease(&self) -> Lease {
        match self.place {
            Place::Owner { .. } => Lease::Owner,
            Place::Guest { .. } => Lease::Seconds(LEASE_S),
        }
    }

    fn maps_mut(&mut self) -> &mut Maps {
        match &mut self.place {
            Place::Owner { program, .. } => &mut program.maps,
            Place::Guest { maps } => maps,
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // Of an owner, everything goes with the file descriptors.
        if let Place::Guest { maps } = &mut self.place {
            for channel in &self.channels {
                // When it fails, the lease ends it.
                let _ = maps.unguard(*channel);
            }
        }
    }
}

/// What the kernel says of a program; `None` when it has gone meanwhile or this process may not know.
pub(crate) fn info_of(program_id: u32) -> Result<Option<ProgramInfo>, FilterError> {
    for info in loaded_programs() {
        match info {
            Ok(info) if info.id() == program_id => return Ok(Some(info)),
            Ok(_) => {}
            Err(error) => {
                return match failed::<ProgramError>("look at the XDP program of another process", NEEDS_IDS)(error) {
                    FilterError::NotPermitted { .. } => Ok(None),
                    error => Err(error),
                };
            }
        }
    }
    Ok(None)
}

/// Opens the maps of a program that another process has loaded, if it is ours: if it has our maps, and our name or none.
pub(crate) fn maps_of(program: &ProgramInfo) -> Result<Option<Maps>, FilterError> {
    let needs = |error: MapError| failed("look at the maps of another process's filter", NEEDS_IDS)(error);
    if !matches!(program.name_as_str(), Some(NAME | "") | None) {
        return Ok(None);
    }
    let ids = program.map_ids().map_err(failed("look at another process's filter", NEEDS_IDS))?.unwrap_or_default();
    let mut there = Vec::new();
    for id in ids {
        there.push(MapInfo::from_id(id).map_err(needs)?);
    }
    let find = |shape: &Shape| there.iter().find(|map| has_shape(map, shape));
    if SHAPES.iter().any(|shape| find(shape).is_none()) {
        return Ok(None);
    }
    let maps = Maps::collect(|shape| {
        let id = find(shape).map_or(0, MapInfo::id);
        Map::from_map_data(MapData::from_id(id).map_err(needs)?).map_err(needs)
    });
    maps.map(Some)
}

fn has_shape(map: &MapInfo, shape: &Shape) -> bool {
    let bytes = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
    map.map_type().is_ok_and(|kind| kind == shape.kind)
        && bytes(map.key_size()) == shape.key_bytes
        && bytes(map.value_size()) == shape.value_bytes
        && map.max_entries() == shape.entries
}

/// Whether a program is ours, and how it is called.
pub(crate) fn occupant(attached: &Attached) -> Option<Occupant> {
    let program_id = *attached.program_ids.first()?;
    let name = info_of(program_id).ok().flatten().map(|info| info.name_as_str().unwrap_or_default().to_owned());
    Some(Occupant { program_id, name, mode: attached.mode })
}

fn occupied(there: &Attached) -> FilterError {
    match occupant(there) {
        Some(occupant) => FilterError::Occupied { interface: there.interface.clone(), occupant },
        None => FilterError::Kernel { what: "attach the filter", reason: format!("{} is busy", there.interface) },
    }
}

/// Why the kernel did not attach it.
fn refused(error: ProgramError, interface: &str, interface_index: u32) -> FilterError {
    let errno = io_error(&error).and_then(|error| error.raw_os_error());
    match errno {
        // Another program came first meanwhile.
        Some(libc::EBUSY | libc::EEXIST) => match interface::attached_to(interface_index) {
            Ok(Some(there)) => occupied(&there),
            _ => failed("attach the filter", NEEDS_ATTACH)(error),
        },
        Some(libc::EPERM) => failed("attach the filter", NEEDS_ATTACH)(error),
        _ => FilterError::NoNativeMode { interface: interface.to_owned(), reason: crate::error::chain(&error) },
    }
}
