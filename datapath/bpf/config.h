/* Every number that may be changed when the programs are compiled (-DNAME=value), with what it
 * costs. Sizes of maps are the loader's; what a packet meets at run time lives in maps. */
#ifndef CILIATE_CONFIG_H
#define CILIATE_CONFIG_H

/* Helper 160, kernel 5.11: time as of the last tick, 10 ns less per packet than the exact clock. */
#ifndef HAVE_COARSE_CLOCK
#define HAVE_COARSE_CLOCK 1
#endif

/* Helper 155, kernel 5.10: into the container without the host's queue. Without it a packet between
 * local containers also runs through to_container of its target. */
#ifndef HAVE_REDIRECT_PEER
#define HAVE_REDIRECT_PEER 1
#endif

/* MAC address of every host-side interface, its first byte highest. */
#ifndef GATEWAY_MAC
#define GATEWAY_MAC 0x0263696c0001ULL
#endif

/* What packets in the tunnel come from: a tunnel's device, which has GATEWAY_MAC, takes none that seems
 * to be its own. */
#ifndef TUNNEL_MAC
#define TUNNEL_MAC 0x0263696c0002ULL
#endif

/* Hops that a packet may take between nodes. */
#ifndef TUNNEL_TTL
#define TUNNEL_TTL 64
#endif

/* Bytes of a packet that are made linear where its headers are not plain IP and TCP, UDP or SCTP. */
#ifndef MAX_HEADERS
#define MAX_HEADERS 256
#endif

/* IPv6 extension headers that are followed; each is code in every program. */
#ifndef MAX_EXTENSION_HEADERS
#define MAX_EXTENSION_HEADERS 4
#endif

/* Seconds that a flow is remembered after its last packet: longer fills the table, shorter makes an
 * idle flow be judged anew, in the direction of whoever speaks first. */
#ifndef CT_TCP_SECONDS
#define CT_TCP_SECONDS 8000
#endif
#ifndef CT_TCP_SYN_SECONDS /* until the other end has answered */
#define CT_TCP_SYN_SECONDS 60
#endif
#ifndef CT_TCP_CLOSING_SECONDS /* after RST, or FIN from both */
#define CT_TCP_CLOSING_SECONDS 10
#endif
#ifndef CT_OTHER_SECONDS /* UDP, SCTP, ICMP */
#define CT_OTHER_SECONDS 60
#endif

/* Flags of bpf_ringbuf_submit: 0 wakes a reader that has read everything. */
#ifndef EVENT_SUBMIT_FLAGS
#define EVENT_SUBMIT_FLAGS 0
#endif

#endif
