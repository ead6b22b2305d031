// Tags every frame that leaves with an 802.1Q VLAN, as a VLAN interface would, on kernels that have none.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Set by the loader before the program is loaded.
volatile const __u16 vlan_id;

SEC("classifier")
int tag(struct __sk_buff *skb)
{
    return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), vlan_id) == 0 ? TC_ACT_OK : TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
