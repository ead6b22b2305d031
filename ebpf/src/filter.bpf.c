// Drops, before the kernel has spent anything on them, packets to a channel that come from anybody but its source.
//
// A channel is (source, group, UDP port). The filter stands guard over groups: a datagram to a guarded (group, port) passes
// only if its source is allowed there and it may be ALC (RFC 5775): no fragment, lengths that fit, LCT version 1. Everything
// else is not ours (RFC 4607 section 1: channels of a group are strangers to each other) and passes, counted: other groups,
// other ports of a guarded group unless it is exclusive, and everything that is not UDP. IGMP and MLD queries are sent to the
// group itself (RFC 3376 section 4.1.12, RFC 3810 section 5.1.15): a filter that drops them ends the membership.
//
// Decided by the IP destination, not by the Ethernet one: the kernel also delivers a group's datagram that comes in a frame
// to the host's own address.
//
// Fragments to a guarded group are dropped whatever their port: only the first of a datagram has one, and ALC never needs
// them. `tests/model/mod.rs` says all of this again, and the tests compare.
//
// Whoever has only CAP_BPF and CAP_NET_ADMIN may not add to a pointer what was read from a packet, nor subtract pointers: what
// stands behind headers of variable length is read by bpf_xdp_load_bytes.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define LCT_VERSION 1
// The first word of an LCT header: version, flags, its length, code point (RFC 5651 section 5.1).
#define LCT_WORD 4
#define VLAN_TAGS_MAX 2
// RFC 8200 section 4.1: each at most once, destination options twice.
#define EXTENSIONS_MAX 5
#define FRAGMENT_BITS 0x3fff // more fragments, and the offset
#define GROUPS_MAX 256
#define CHANNELS_MAX 4096
#define SAMPLES_BYTES (64 * 1024)

// Flags of a guard.
#define MORE 1      // there are several, all of them in `channels`
#define EXCLUSIVE 2 // other ports of this group are dropped too

// What became of a packet to a multicast group; numbered as in `src/counters.rs`.
enum verdict {
    ACCEPTED,
    OTHER_GROUP,
    OTHER_PORT,
    NOT_UDP,
    WRONG_SOURCE,
    FRAGMENT,
    MALFORMED,
    BAD_LCT_VERSION,
    EXCLUSIVE_PORT,
    VERDICTS,
};

// A drop whose ordinal has none of these bits set is sampled. Set by the loader before the program is loaded.
volatile const __u32 sample_mask;

// Each guarded group, with its first channel: one lookup is all that most packets need.
struct guard_v4 {
    __be16 port;
    __u16 flags;
    __be32 source;
};

struct guard_v6 {
    __be16 port;
    __u16 flags;
    __u32 padding;
    __u64 source[2];
};

// One of several channels of a group. With a source of zeros: this port of the group is guarded.
struct channel {
    __u16 family;
    __be16 port;
    __u32 padding;
    __u64 group[2];
    __u64 source[2]; // an IPv4 address in the first four bytes
};

// Who holds a channel, and until when: for processes, not for the program.
struct holder {
    __u64 until_s;
    __u32 pid;
    __u32 padding;
};

// A drop, for the log.
struct sample {
    __u64 source[2];
    __u64 group[2];
    __u16 family;
    __be16 port; // 0 where the packet had none that could be read
    __u32 verdict;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, GROUPS_MAX);
    __type(key, __be32);
    __type(value, struct guard_v4);
} groups_v4 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, GROUPS_MAX);
    __type(key, struct in6_addr);
    __type(value, struct guard_v6);
} groups_v6 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, CHANNELS_MAX);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct channel);
    __type(value, struct holder);
} channels SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, VERDICTS);
    __type(key, __u32);
    __type(value, __u64);
} packets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, SAMPLES_BYTES);
} samples SEC(".maps");

// What a verdict looks at behind the IP headers.
struct head {
    struct udphdr udp;
    __u8 lct[LCT_WORD];
};

// A datagram to a guarded group, as far as it was read.
struct datagram {
    struct xdp_md *ctx;
    void *ip;
    void *end;
    __u32 ip_offset;  // in the frame
    __u32 header_len; // of IP and what stands before UDP
    __u32 total_len;  // of IP, by its own word
    __u16 family;
    bool has_udp;
    bool has_lct;
    struct head head;
};

// How many of them there were before, on this CPU.
static __always_inline __u64 count(enum verdict verdict)
{
    __u32 which = verdict;
    __u64 *here = bpf_map_lookup_elem(&packets, &which);

    return here ? (*here)++ : 0;
}

static __always_inline int pass(enum verdict verdict)
{
    count(verdict);
    return XDP_PASS;
}

static __noinline int keep_sample(void *ip, void *end, __u32 family, __u32 port, __u32 verdict)
{
    struct sample *sample;

    if (ip + sizeof(struct ipv6hdr) > end && family == AF_INET6)
        return 0;
    if (ip + sizeof(struct iphdr) > end)
        return 0;
    sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);
    if (!sample)
        return 0;
    __builtin_memset(sample, 0, sizeof(*sample));
    if (family == AF_INET) {
        struct iphdr *v4 = ip;

        *(__be32 *)sample->source = v4->saddr;
        *(__be32 *)sample->group = v4->daddr;
    } else if (ip + sizeof(struct ipv6hdr) <= end) {
        struct ipv6hdr *v6 = ip;

        __builtin_memcpy(sample->source, &v6->saddr, sizeof(sample->source));
        __builtin_memcpy(sample->group, &v6->daddr, sizeof(sample->group));
    }
    sample->family = family;
    sample->port = port;
    sample->verdict = verdict;
    bpf_ringbuf_submit(sample, 0);
    return 0;
}

static __always_inline int drop(struct datagram *d, enum verdict verdict)
{
    if (!(count(verdict) & sample_mask))
        keep_sample(d->ip, d->end, d->family, d->has_udp ? d->head.udp.dest : 0, verdict);
    return XDP_DROP;
}

// What a group with several channels makes of a datagram.
static __noinline int find_channel(struct channel *key)
{
    if (bpf_map_lookup_elem(&channels, key))
        return ACCEPTED;
    key->source[0] = key->source[1] = 0;
    return bpf_map_lookup_elem(&channels, key) ? WRONG_SOURCE : OTHER_PORT;
}

// Reads what stands behind the IP headers: `usual` is its place when they have no options and no extensions.
static __always_inline void read_head(struct datagram *d, struct head *usual)
{
    __u32 offset = d->ip_offset + d->header_len;

    if (usual && (void *)(usual + 1) <= d->end) {
        d->head = *usual;
        d->has_udp = d->has_lct = true;
    } else if (!bpf_xdp_load_bytes(d->ctx, offset, &d->head, sizeof(d->head))) {
        d->has_udp = d->has_lct = true;
    } else if (!bpf_xdp_load_bytes(d->ctx, offset, &d->head.udp, sizeof(d->head.udp))) {
        d->has_udp = true;
    }
}

// Whether lengths fit each other and the frame, and LCT is what follows.
static __always_inline enum verdict inspect(struct datagram *d)
{
    __u32 udp_len = bpf_ntohs(d->head.udp.len), lct_len = d->head.lct[2] * 4;

    if (d->total_len < d->header_len + udp_len || udp_len < sizeof(struct head) || !d->has_lct)
        return MALFORMED;
    if (d->ip_offset + d->total_len > bpf_xdp_get_buff_len(d->ctx))
        return MALFORMED;
    if (d->head.lct[0] >> 4 != LCT_VERSION)
        return BAD_LCT_VERSION;
    if (lct_len < LCT_WORD || sizeof(struct udphdr) + lct_len > udp_len)
        return MALFORMED;
    return ACCEPTED;
}

static __always_inline int on_guarded(struct datagram *d, __u16 flags, enum verdict verdict)
{
    if (verdict == ACCEPTED)
        verdict = inspect(d);
    if (verdict == ACCEPTED)
        return pass(ACCEPTED);
    if (verdict == OTHER_PORT) {
        if (!(flags & EXCLUSIVE))
            return pass(OTHER_PORT);
        verdict = EXCLUSIVE_PORT;
    }
    return drop(d, verdict);
}

static __always_inline int on_ipv4(struct xdp_md *ctx, void *at, void *end, __u32 offset)
{
    struct iphdr *ip = at;
    struct datagram d = { .ctx = ctx, .ip = at, .end = end, .ip_offset = offset, .family = AF_INET };
    struct guard_v4 *guard;
    enum verdict verdict;

    if ((void *)(ip + 1) > end || (ip->daddr & bpf_htonl(0xf0000000)) != bpf_htonl(0xe0000000))
        return XDP_PASS;
    guard = bpf_map_lookup_elem(&groups_v4, &ip->daddr);
    if (!guard)
        return pass(OTHER_GROUP);
    if (ip->protocol != IPPROTO_UDP)
        return pass(NOT_UDP);
    if (ip->frag_off & bpf_htons(FRAGMENT_BITS))
        return drop(&d, FRAGMENT);
    d.header_len = ip->ihl * 4;
    d.total_len = bpf_ntohs(ip->tot_len);
    if (ip->version != 4 || d.header_len < sizeof(*ip))
        return drop(&d, MALFORMED);
    read_head(&d, d.header_len == sizeof(*ip) ? (void *)(ip + 1) : NULL);
    if (!d.has_udp)
        return drop(&d, MALFORMED);
    if (d.head.udp.dest == guard->port && ip->saddr == guard->source) {
        verdict = ACCEPTED;
    } else if (guard->flags & MORE) {
        struct channel key = { .family = AF_INET, .port = d.head.udp.dest };

        *(__be32 *)key.group = ip->daddr;
        *(__be32 *)key.source = ip->saddr;
        verdict = find_channel(&key);
    } else {
        verdict = d.head.udp.dest == guard->port ? WRONG_SOURCE : OTHER_PORT;
    }
    return on_guarded(&d, guard->flags, verdict);
}

// Steps over the extension headers that may stand before UDP, and reads what stands there.
static __noinline int to_udp(struct datagram *d, __u8 next)
{
    __u8 extension[8];

    for (int i = 0; i <= EXTENSIONS_MAX; i++) {
        if (next == IPPROTO_UDP) {
            read_head(d, NULL);
            return ACCEPTED;
        }
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
            return NOT_UDP;
        if (bpf_xdp_load_bytes(d->ctx, d->ip_offset + d->header_len, extension, sizeof(extension)))
            return MALFORMED;
        // The datagram in fragments may be any, except that it is told here what it is.
        if (next == IPPROTO_FRAGMENT)
            return extension[0] == IPPROTO_ICMPV6 ? NOT_UDP : FRAGMENT;
        next = extension[0];
        d->header_len += (extension[1] + 1) * 8;
    }
    return MALFORMED;
}

static __always_inline int on_ipv6(struct xdp_md *ctx, void *at, void *end, __u32 offset)
{
    struct ipv6hdr *ip = at;
    struct datagram d = { .ctx = ctx, .ip = at, .end = end, .ip_offset = offset, .family = AF_INET6 };
    struct guard_v6 *guard;
    enum verdict verdict;
    __u64 *source;

    if ((void *)(ip + 1) > end || ip->daddr.s6_addr[0] != 0xff)
        return XDP_PASS;
    guard = bpf_map_lookup_elem(&groups_v6, &ip->daddr);
    if (!guard)
        return pass(OTHER_GROUP);
    d.header_len = sizeof(*ip);
    if (ip->nexthdr == IPPROTO_UDP) {
        read_head(&d, (void *)(ip + 1));
        verdict = ACCEPTED;
    } else {
        verdict = to_udp(&d, ip->nexthdr);
    }
    if (verdict == NOT_UDP)
        return pass(NOT_UDP);
    if (verdict == ACCEPTED && (ip->version != 6 || !d.has_udp))
        verdict = MALFORMED;
    if (verdict != ACCEPTED)
        return drop(&d, verdict);
    d.total_len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
    source = (__u64 *)&ip->saddr;
    if (d.head.udp.dest == guard->port && source[0] == guard->source[0] && source[1] == guard->source[1]) {
        verdict = ACCEPTED;
    } else if (guard->flags & MORE) {
        struct channel key = { .family = AF_INET6, .port = d.head.udp.dest };

        __builtin_memcpy(key.group, &ip->daddr, sizeof(key.group));
        __builtin_memcpy(key.source, &ip->saddr, sizeof(key.source));
        verdict = find_channel(&key);
    } else {
        verdict = d.head.udp.dest == guard->port ? WRONG_SOURCE : OTHER_PORT;
    }
    return on_guarded(&d, guard->flags, verdict);
}

struct vlan_tag {
    __be16 tci;
    __be16 ethertype;
};

static __always_inline bool is_vlan(__be16 ethertype)
{
    return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD);
}

SEC("xdp.frags")
int fleetcast_xdp(struct xdp_md *ctx)
{
    void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *ethernet = at;
    __u32 offset = sizeof(*ethernet);
    __be16 ethertype;

    at = ethernet + 1;
    if (at > end)
        return XDP_PASS;
    ethertype = ethernet->h_proto;
    if (ethertype == bpf_htons(ETH_P_IP))
        return on_ipv4(ctx, at, end, offset);
    for (int i = 0; i < VLAN_TAGS_MAX && is_vlan(ethertype); i++) {
        struct vlan_tag *tag = at;

        at = tag + 1;
        offset += sizeof(*tag);
        if (at > end)
            return XDP_PASS;
        ethertype = tag->ethertype;
    }
    if (ethertype == bpf_htons(ETH_P_IP))
        return on_ipv4(ctx, at, end, offset);
    if (ethertype == bpf_htons(ETH_P_IPV6))
        return on_ipv6(ctx, at, end, offset);
    return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
