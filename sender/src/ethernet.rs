//! What whoever writes Ethernet frames himself must know of an interface: the device below it, addresses, tag, queues.

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, VlanProtocol,
};

/// The Ethernet device that an interface sends on: itself, or the one below a VLAN interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ethernet {
    /// Name of the device.
    pub device: String,
    /// Its index.
    pub device_index: u32,
    /// Its transmit queues.
    pub tx_queues: u32,
    /// Ethernet address of the interface.
    pub mac: [u8; 6],
    /// 802.1Q VLAN of the interface.
    pub vlan_id: Option<u16>,
}

impl Ethernet {
    /// Reads it from the kernel's list of links; `None` when the link is no Ethernet, or one whose frames have a tag that is
    /// not 802.1Q, or two of them.
    pub fn of(link: &LinkMessage, all: &[&LinkMessage]) -> Option<Self> {
        let mac = mac(link)?;
        let Some(vlan) = vlan(link) else { return Some(Self { mac, vlan_id: None, ..Self::of_device(link)? }) };
        let parent_index = find(link, |attribute| match attribute {
            LinkAttribute::Link(index) => Some(*index),
            _ => None,
        })?;
        let parent = all.iter().find(|parent| parent.header.index == parent_index)?;
        let is_plain = self::vlan(parent).is_none();
        let vlan_id = is_plain.then(|| vlan_id(vlan)).flatten()?;
        Some(Self { mac, vlan_id: Some(vlan_id), ..Self::of_device(parent)? })
    }

    fn of_device(link: &LinkMessage) -> Option<Self> {
        let device = find(link, |attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
        let tx_queues = find(link, |attribute| match attribute {
            LinkAttribute::NumTxQueues(queues) => Some(*queues),
            _ => None,
        });
        let tx_queues = tx_queues.unwrap_or(1);
        Some(Self { device, device_index: link.header.index, tx_queues, mac: mac(link)?, vlan_id: None })
    }
}

fn find<T>(link: &LinkMessage, pick: impl Fn(&LinkAttribute) -> Option<T>) -> Option<T> {
    link.attributes.iter().find_map(pick)
}

fn mac(link: &LinkMessage) -> Option<[u8; 6]> {
    if !matches!(link.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback) {
        return None;
    }
    find(link, |attribute| match attribute {
        LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

/// What the kernel says of a VLAN interface; `None` for any other.
fn vlan(link: &LinkMessage) -> Option<&[InfoVlan]> {
    link.attributes.iter().find_map(|attribute| {
        let LinkAttribute::LinkInfo(infos) = attribute else { return None };
        infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Vlan))).then(|| {
            infos
                .iter()
                .find_map(|info| if let LinkInfo::Data(InfoData::Vlan(it)) = info { Some(&it[..]) } else { None })
        })?
    })
}

fn vlan_id(vlan: &[InfoVlan]) -> Option<u16> {
    let is_802_1q =
        vlan.iter().all(|it| !matches!(it, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q));
    let id = vlan.iter().find_map(|it| if let InfoVlan::Id(id) = it { Some(*id) } else { None });
    id.filter(|_| is_802_1q)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, index: u8, more: Vec<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index.into();
        link.header.link_layer_type = LinkLayerType::Ether;
        link.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::Address(vec![2, 0, 0, 0, 0, index])];
        link.attributes.extend(more);
        link
    }

    fn tagged(parent: u32, data: Vec<InfoVlan>) -> Vec<LinkAttribute> {
        let infos = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(data))];
        vec![LinkAttribute::Link(parent), LinkAttribute::LinkInfo(infos)]
    }

    #[test]
    fn a_vlan_interface_sends_on_the_device_below() {
        let eth0 = link("eth0", 2, vec![LinkAttribute::NumTxQueues(4)]);
        let vlan = link("eth0.7", 3, tagged(2, vec![InfoVlan::Id(7), InfoVlan::Protocol(VlanProtocol::Ieee8021Q)]));
        let all = [&eth0, &vlan];
        let plain = Ethernet::of(&eth0, &all).unwrap();
        assert_eq!((plain.device.as_str(), plain.tx_queues, plain.vlan_id), ("eth0", 4, None));
        let tagged = Ethernet::of(&vlan, &all).unwrap();
        assert_eq!(tagged, Ethernet { mac: [2, 0, 0, 0, 0, 3], vlan_id: Some(7), ..plain });
    }

    #[test]
    fn other_tags_two_tags_and_other_links_are_none() {
        let eth0 = link("eth0", 2, vec![]);
        let service = link("s0", 3, tagged(2, vec![InfoVlan::Id(7), InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)]));
        let first = link("eth0.7", 4, tagged(2, vec![InfoVlan::Id(7)]));
        let second = link("eth0.7.8", 5, tagged(4, vec![InfoVlan::Id(8)]));
        let orphan = link("eth9.1", 6, tagged(99, vec![InfoVlan::Id(1)]));
        let mut ppp = link("ppp0", 7, vec![]);
        ppp.header.link_layer_type = LinkLayerType::Ppp;
        let all = [&eth0, &service, &first, &second, &orphan, &ppp];
        for none in [&service, &second, &orphan, &ppp] {
            assert_eq!(Ethernet::of(none, &all), None);
        }
        assert!(Ethernet::of(&first, &all).is_some());
    }
}
