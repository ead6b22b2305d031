// Counts what arrives, where nothing else costs time: natively as XDP, or as a tc classifier, which sees a super-packet
// whole. IPv4 and UDP to one port only; what it has counted is gone.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Preamble 8, FCS 4, gap 12.
#define L1_OVERHEAD 24
// Ethernet 14, IPv4 20, UDP 8: a super-packet has them once, its packets each.
#define HEADERS 42

// Set by the loader before the program is loaded.
volatile const __u16 udp_port;   // host byte order
volatile const __u64 rate_bps;   // 0: bursts are not looked at
volatile const __u64 warm_up_ns; // nothing is measured before
volatile const __u64 gap_ns;     // a longer silence ends a burst

// One CPU at a time receives from one cable, so that no two write here.
struct totals {
    __u64 packets;
    __u64 bytes;
    __u64 first_ns;
    __u64 last_ns;
    // The rate, from the start of the first burst after the warm-up to the start of the last.
    __u64 base_ns;
    __u64 base_bits;
    __u64 burst_ns;
    __u64 burst_bits;
    __u64 bits;
    // A bucket that leaks at the rate: the line time of what came earlier than the rate allows.
    __u64 level_ns;
    __u64 level_max_ns;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct totals);
} totals SEC(".maps");

static __always_inline bool is_ours(void *data, void *end)
{
    struct ethhdr *ethernet = data;
    struct iphdr *ip = (void *)(ethernet + 1);
    struct udphdr *udp = (void *)(ip + 1);

    return (void *)(udp + 1) <= end && ethernet->h_proto == bpf_htons(ETH_P_IP) && ip->ihl == 5 &&
           ip->protocol == IPPROTO_UDP && udp->dest == bpf_htons(udp_port);
}

static __always_inline void measure(struct totals *t, __u64 now, __u64 bits)
{
    __u64 silence = now - t->last_ns;

    if (now - t->first_ns >= warm_up_ns && silence > gap_ns) {
        t->burst_ns = now;
        t->burst_bits = t->bits;
        if (!t->base_ns) {
            t->base_ns = now;
            t->base_bits = t->bits;
        }
    }
    t->level_ns = t->level_ns > silence ? t->level_ns - silence : 0;
    t->level_ns += bits * 1000000000 / rate_bps;
    if (t->base_ns && t->level_ns > t->level_max_ns)
        t->level_max_ns = t->level_ns;
}

static __always_inline void count(__u64 packets, __u64 bytes)
{
    __u32 zero = 0;
    struct totals *t = bpf_map_lookup_elem(&totals, &zero);
    __u64 now = bpf_ktime_get_ns();
    __u64 bits;

    if (!t)
        return;
    bits = (bytes + packets * L1_OVERHEAD) * 8;
    if (!t->packets)
        t->first_ns = t->last_ns = now;
    if (rate_bps)
        measure(t, now, bits);
    t->packets += packets;
    t->bytes += bytes;
    t->bits += bits;
    t->last_ns = now;
}

SEC("xdp")
int count_xdp(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

    if (!is_ours(data, end))
        return XDP_PASS;
    count(1, end - data);
    return XDP_DROP;
}

SEC("classifier")
int count_tc(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    __u64 packets;

    if (!is_ours(data, end))
        return TC_ACT_OK;
    packets = skb->gso_segs ? skb->gso_segs : 1;
    count(packets, skb->len + (packets - 1) * HEADERS);
    return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
