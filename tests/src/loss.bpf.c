// Random loss at a receiver's door, the same in every run.
//
// Attached natively to the receiver's veth. Every UDP datagram to one port is given an identity; whether it is dropped
// is a keyed hash of (receiver key, identity, how often this identity was seen before). `src/loss.rs` computes the same
// function, so the loss of a real receiver can be foretold packet by packet.
//
// The identity of an ALC packet is its TOI and its FEC Payload ID: which encoding symbol it carries, whatever session
// (TSI), header extensions or flags. The count makes a repeat of the same packet (an announcement, the manifest, a
// source symbol in a carousel) an independent draw, while the first copy of a symbol always has the same fate.
// A datagram that is no LCT packet is identified by its ordinal alone.
//
// Bursts (Gilbert–Elliott, all lost in the bad state): after a loss another threshold holds, until a packet arrives. Where
// both thresholds are the same, each packet is lost by itself.
//
// Everything else (ARP, IGMP, ICMPv6, other ports, IP fragments after the first) passes and is not counted.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define LCT_VERSION 1
#define IDENTITIES_MAX (1 << 20)
#define FRAGMENT_OFFSET 0x1fff

// Set by the loader before the program is loaded.
volatile const __u64 receiver_key;
volatile const __u64 drop_below; // of 2^32: a hash below it is a loss
volatile const __u64 stay_below; // the same for the packet after a lost one
volatile const __u16 udp_port;   // host byte order

enum { SEEN, DROPPED, LOSING, COUNTERS };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, COUNTERS);
    __type(key, __u32);
    __type(value, __u64);
} counters SEC(".maps");

// Identity to the number of copies seen. Entries are made as needed: an idle lab costs nothing.
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, IDENTITIES_MAX);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u64);
    __type(value, __u64);
} copies SEC(".maps");

struct cursor {
    void *at;
    void *end;
};

static __always_inline __u64 count(__u32 which)
{
    __u64 *value = bpf_map_lookup_elem(&counters, &which);

    return value ? __sync_fetch_and_add(value, 1) : 0;
}

// The finalizer of SplitMix64: every input bit reaches every output bit.
static __always_inline __u64 mix(__u64 x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static __always_inline bool lost(__u64 identity, __u64 copy)
{
    __u64 hash = mix(mix(receiver_key ^ mix(identity)) + copy) >> 32;
    __u32 which = LOSING;
    __u64 *losing = bpf_map_lookup_elem(&counters, &which);
    bool is_lost;

    if (!losing)
        return hash < drop_below;
    is_lost = hash < (*losing ? stay_below : drop_below);
    *losing = is_lost;
    return is_lost;
}

// How many packets of this identity came before. When the table is full the ordinal of the datagram stands in: still an
// independent draw, only no longer foretold.
static __always_inline __u64 copies_before(__u64 identity, __u64 ordinal)
{
    __u64 one = 1;
    __u64 *seen = bpf_map_lookup_elem(&copies, &identity);

    if (seen)
        return __sync_fetch_and_add(seen, 1);
    if (bpf_map_update_elem(&copies, &identity, &one, BPF_NOEXIST))
        return ordinal;
    return 0;
}

// Step over Ethernet, IP and UDP when the frame is a datagram to our port; extension headers of IPv6 are not looked into.
static __always_inline bool to_payload(struct cursor *c)
{
    struct ethhdr *eth = c->at;
    struct udphdr *udp;

    if ((void *)(eth + 1) > c->end)
        return false;
    if (eth->h_proto == bpf_htons(ETH_P_IP)) {
        struct iphdr *ip = (void *)(eth + 1);

        if ((void *)(ip + 1) > c->end || ip->protocol != IPPROTO_UDP || (ip->frag_off & bpf_htons(FRAGMENT_OFFSET)))
            return false;
        udp = (void *)ip + ip->ihl * 4;
    } else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr *ip = (void *)(eth + 1);

        if ((void *)(ip + 1) > c->end || ip->nexthdr != IPPROTO_UDP)
            return false;
        udp = (void *)(ip + 1);
    } else {
        return false;
    }
    if ((void *)(udp + 1) > c->end || udp->dest != bpf_htons(udp_port))
        return false;
    c->at = udp + 1;
    return true;
}

// RFC 5651 section 5.1: version and the length of CCI in the first byte, the widths of TSI and TOI in the second, the
// length of the whole header in words in the third. The FEC Payload ID follows the header (RFC 5775 section 2.1).
static __always_inline bool to_identity(const struct cursor *c, __u64 *identity)
{
    __u8 *lct = c->at;
    __be32 *toi, *payload_id;
    __u32 half, toi_len, toi_end, header_len;

    if ((void *)(lct + 4) > c->end || (lct[0] >> 4) != LCT_VERSION)
        return false;
    half = (lct[1] >> 4) & 1;
    toi_len = ((lct[1] >> 5) & 3) * 4 + half * 2;
    toi_end = 4 + (((lct[0] >> 2) & 3) + 1) * 4 + (lct[1] >> 7) * 4 + half * 2 + toi_len;
    header_len = lct[2] * 4;
    if (toi_len == 0 || header_len < toi_end)
        return false;
    toi = (void *)lct + toi_end - 4;
    payload_id = (void *)lct + header_len;
    if ((void *)(toi + 1) > c->end || (void *)(payload_id + 1) > c->end)
        return false;
    // The low 32 bits of the TOI, or all 16 of a short one.
    *identity = (__u64)(bpf_ntohl(*toi) & (toi_len == 2 ? 0xffff : ~0U)) << 32 | bpf_ntohl(*payload_id);
    return true;
}

SEC("xdp.frags")
int lose(struct xdp_md *ctx)
{
    struct cursor c = { .at = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end };
    __u64 identity, ordinal, copy;

    if (!to_payload(&c))
        return XDP_PASS;
    ordinal = count(SEEN);
    if (to_identity(&c, &identity)) {
        copy = copies_before(identity, ordinal);
    } else {
        identity = ~0ULL;
        copy = ordinal;
    }
    if (!lost(identity, copy))
        return XDP_PASS;
    count(DROPPED);
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
