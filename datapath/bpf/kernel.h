/* What the kernel offers: helpers by number, maps by file descriptor, byte order. Only UAPI headers,
 * so that one build serves every kernel with the same features.
 *
 * Maps are made by the agent. The loader passes their file descriptors as MAP_FD_<name>, so nothing
 * here depends on the map objects that BCC would make of declarations. */
#ifndef CILIATE_KERNEL_H
#define CILIATE_KERNEL_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/pkt_cls.h>

#include "abi.h"
#include "config.h"

#define MAP(name) ((void *)bpf_pseudo_fd(BPF_PSEUDO_MAP_FD, MAP_FD_##name))

static void *(*kernel_map_lookup)(const void *map, const void *key) = (void *)1;
static long (*kernel_map_update)(void *map, const void *key, const void *value,
				 __u64 flags) = (void *)2;
static __u64 (*kernel_exact_time)(void) = (void *)5;
static long (*kernel_get_tunnel_key)(struct __sk_buff *skb, void *key, __u32 size,
				     __u64 flags) = (void *)20;
static long (*kernel_set_tunnel_key)(struct __sk_buff *skb, const void *key, __u32 size,
				     __u64 flags) = (void *)21;
static __u32 (*kernel_random)(void) = (void *)7;
static long (*kernel_store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 size,
				  __u64 flags) = (void *)9;
static long (*kernel_redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static long (*kernel_load_bytes)(const void *skb, __u32 offset, void *to, __u32 size) = (void *)26;
static __s64 (*kernel_checksum)(const void *from, __u32 from_size, const void *to, __u32 to_size,
				__u32 seed) = (void *)28;
static long (*kernel_change_tail)(struct __sk_buff *skb, __u32 length, __u64 flags) = (void *)38;
static long (*kernel_pull)(struct __sk_buff *skb, __u32 length) = (void *)39;
static void *(*kernel_ring_reserve)(void *ring, __u64 size, __u64 flags) = (void *)131;
static void (*kernel_ring_submit)(void *record, __u64 flags) = (void *)132;
static long (*kernel_redirect_peer)(__u32 ifindex, __u64 flags) = (void *)155;
static __u64 (*kernel_coarse_time)(void) = (void *)160;

#define map_lookup(name, key) kernel_map_lookup(MAP(name), key)
#define map_update(name, key, value) kernel_map_update(MAP(name), key, value, BPF_ANY)

#define SECOND 1000000000ULL /* ns */

/* CLOCK_MONOTONIC; a few milliseconds late where the coarse clock serves. */
static __always_inline __u64 now(void)
{
	return HAVE_COARSE_CLOCK ? kernel_coarse_time() : kernel_exact_time();
}

/* A container's end of a veth, given the host's end. */
static __always_inline int into_container(__u32 ifindex)
{
	return HAVE_REDIRECT_PEER ? kernel_redirect_peer(ifindex, 0) : kernel_redirect(ifindex, 0);
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define big16(number) ((__be16)__builtin_bswap16((__u16)(number)))
#define big32(number) ((__be32)__builtin_bswap32((__u32)(number)))
#else
#define big16(number) ((__be16)(number))
#define big32(number) ((__be32)(number))
#endif
/* Swapping is its own inverse. */
#define host16(number) ((__u16)big16(number))

#endif
