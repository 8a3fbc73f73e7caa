"""Conntrack read back and swept, slice by slice, so that a full table never stops the process."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ctypes import sizeof

from datapath import abi
from datapath.codec import decode_conntrack
from datapath.kernel_map import KernelMap
from datapath.tables import ConntrackRecord
from model.network import IPAddress

_LONG = 8
_STRIDE = sizeof(abi.CtEntry) // _LONG
_EXPIRES = abi.CtEntry.expires.offset // _LONG


def records(table: KernelMap) -> Iterator[ConntrackRecord]:
    for key, value in table.items():
        yield decode_conntrack(key, value)


def sweep(table: KernelMap, now_ns: int, gone: Collection[IPAddress]) -> int:
    """Delete what has expired by `now_ns` and what belongs to an address in `gone`; how many.

    A flow that wakes up between being read and being deleted is judged anew at its next packet. Each
    slice is deleted as soon as it is read, so this takes a packet of a long expired flow within about
    a millisecond.
    """
    addresses = {address.packed for address in gone}
    deleted = 0
    for keys, values in table.slices():
        size = table.key_size
        expiries = memoryview(values).cast("Q")[_EXPIRES::_STRIDE]
        doomed = [
            keys[index * size : (index + 1) * size]
            for index, expires in enumerate(expiries)
            if expires <= now_ns
        ]
        if addresses:
            doomed += _of_addresses(keys, size, addresses, set(doomed))
        deleted += table.delete_many(doomed)
    return deleted


def _of_addresses(keys: bytes, size: int, addresses: set[bytes], doomed: set[bytes]) -> list[bytes]:
    key4 = size == sizeof(abi.Ct4Key)
    width = abi.Ct4Key.low_address.size if key4 else abi.Ct6Key.low_address.size
    found = []
    for start in range(0, len(keys), size):
        low, high = keys[start : start + width], keys[start + width : start + 2 * width]
        if low in addresses or high in addresses:
            key = keys[start : start + size]
            if key not in doomed:
                found.append(key)
    return found
