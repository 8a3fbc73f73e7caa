"""Which subnets can be a pool at all. PURE."""

from __future__ import annotations

from ipaddress import ip_network

from ipam_driver.pool import usable
from model.errors import InvalidInput
from model.network import IPNetwork, overlap

_NEVER: dict[IPNetwork, str] = {
    ip_network("0.0.0.0/8"): "addresses of this host",
    ip_network("127.0.0.0/8"): "loopback",
    ip_network("169.254.0.0/16"): "link-local",
    ip_network("224.0.0.0/4"): "multicast",
    ip_network("240.0.0.0/4"): "reserved",
    ip_network("::/127"): "loopback",
    ip_network("::ffff:0:0/96"): "IPv4 in IPv6",
    ip_network("fe80::/10"): "link-local",
    ip_network("ff00::/8"): "multicast",
}


def must_be_fit(pool: IPNetwork, range: IPNetwork | None) -> None:
    """Raises InvalidInput unless containers can live in `pool` and get addresses of `range`."""
    for never, kind in _NEVER.items():
        if overlap(pool, never):
            raise InvalidInput(f"{pool} holds {kind} addresses ({never})", path="--subnet", hint=_PRIVATE)
    if pool.num_addresses == 1:
        raise InvalidInput(
            f"{pool} is one address, and the gateway needs one",
            path="--subnet",
            hint=f"give a subnet of /{pool.max_prefixlen - 1} or larger",
        )
    if range is None:
        return
    if range.version != pool.version or not range.subnet_of(pool):  # type: ignore[arg-type]
        raise InvalidInput(f"{range} is not within {pool}", path="--ip-range", hint="give a part of --subnet")
    first, stop = usable(pool)
    start = int(range.network_address) - int(pool.network_address)
    if max(first, start) >= min(stop, start + range.num_addresses):
        raise InvalidInput(f"{range} holds no usable address of {pool}", path="--ip-range")


_PRIVATE = "give one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fd00::/8"
