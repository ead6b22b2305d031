// What the filter is measured with: a flood, the least that can be done against it, and a program that does nothing.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

// Set by the loader before the program is loaded.
volatile const __u32 interface_index; // where frames leave

// Run on live frames, it sends each of them.
SEC("xdp")
int flood(struct xdp_md *ctx)
{
    (void)ctx;
    return bpf_redirect(interface_index, 0);
}

SEC("xdp")
int drop_all(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_DROP;
}

SEC("xdp")
int pass_all(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
