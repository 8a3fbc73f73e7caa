"""`union bpf_attr`, one ctypes structure for each command that ciliate uses. PURE.

Source: include/uapi/linux/bpf.h. The kernel takes any prefix of the union, so a structure ends
with the last field that is used. Pointers to memory that the kernel only reads are c_char_p (they
take `bytes` as it is and keep it alive); those that it writes are numbers (`ctypes.addressof`).
"""

from __future__ import annotations

import ctypes
from enum import IntEnum

u32, u64 = ctypes.c_uint32, ctypes.c_uint64
text = ctypes.c_char_p
NAME_LENGTH = 16

NO_PREALLOC = 1
"""BPF_F_NO_PREALLOC of MAP_CREATE: memory is taken entry by entry."""
REPLACE = 4
"""BPF_F_REPLACE of PROG_ATTACH: swap one attached program for another, with no gap."""


class Command(IntEnum):
    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27


class MapType(IntEnum):
    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    RINGBUF = 27


class ProgramType(IntEnum):
    SCHED_CLS = 3


class AttachType(IntEnum):
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class MapCreate(ctypes.Structure):
    _fields_ = [
        ("map_type", u32),
        ("key_size", u32),
        ("value_size", u32),
        ("max_entries", u32),
        ("map_flags", u32),
        ("inner_map_fd", u32),
        ("numa_node", u32),
        ("map_name", ctypes.c_char * NAME_LENGTH),
    ]


class MapRead(ctypes.Structure):
    """MAP_LOOKUP_ELEM, MAP_GET_NEXT_KEY: the kernel writes to `output`."""

    _fields_ = [("map_fd", u32), ("key", text), ("output", u64), ("flags", u64)]


class MapWrite(ctypes.Structure):
    """MAP_UPDATE_ELEM, MAP_DELETE_ELEM."""

    _fields_ = [("map_fd", u32), ("key", text), ("value", text), ("flags", u64)]


class MapReadBatch(ctypes.Structure):
    _fields_ = [
        ("in_batch", text),
        ("out_batch", u64),
        ("keys", u64),
        ("values", u64),
        ("count", u32),
        ("map_fd", u32),
        ("elem_flags", u64),
        ("flags", u64),
    ]


class MapWriteBatch(ctypes.Structure):
    _fields_ = [
        ("in_batch", u64),
        ("out_batch", u64),
        ("keys", text),
        ("values", text),
        ("count", u32),
        ("map_fd", u32),
        ("elem_flags", u64),
        ("flags", u64),
    ]


class ProgLoad(ctypes.Structure):
    _fields_ = [
        ("prog_type", u32),
        ("insn_cnt", u32),
        ("insns", text),
        ("license", text),
        ("log_level", u32),
        ("log_size", u32),
        ("log_buf", u64),
        ("kern_version", u32),
        ("prog_flags", u32),
        ("prog_name", ctypes.c_char * NAME_LENGTH),
    ]


class Pin(ctypes.Structure):
    _fields_ = [("pathname", text), ("bpf_fd", u32), ("file_flags", u32)]


class ProgAttach(ctypes.Structure):
    _fields_ = [
        ("target_ifindex", u32),
        ("attach_bpf_fd", u32),
        ("attach_type", u32),
        ("attach_flags", u32),
        ("replace_bpf_fd", u32),
        ("relative_fd", u32),
        ("expected_revision", u64),
    ]


class ProgQuery(ctypes.Structure):
    _fields_ = [
        ("target_ifindex", u32),
        ("attach_type", u32),
        ("query_flags", u32),
        ("attach_flags", u32),
        ("prog_ids", u64),
        ("count", u32),
        ("padding", u32),
        ("prog_attach_flags", u64),
        ("link_ids", u64),
        ("link_attach_flags", u64),
        ("revision", u64),
    ]


class ProgTestRun(ctypes.Structure):
    _fields_ = [
        ("prog_fd", u32),
        ("retval", u32),
        ("data_size_in", u32),
        ("data_size_out", u32),
        ("data_in", text),
        ("data_out", u64),
        ("repeat", u32),
        ("duration", u32),
        ("ctx_size_in", u32),
        ("ctx_size_out", u32),
        ("ctx_in", text),
        ("ctx_out", u64),
        ("flags", u32),
        ("cpu", u32),
        ("batch_size", u32),
    ]


class IdToFd(ctypes.Structure):
    _fields_ = [("id", u32), ("next_id", u32), ("open_flags", u32)]


class InfoByFd(ctypes.Structure):
    _fields_ = [("bpf_fd", u32), ("info_len", u32), ("info", u64)]


class MapInfo(ctypes.Structure):
    """`struct bpf_map_info`, its beginning."""

    _fields_ = [
        ("type", u32),
        ("id", u32),
        ("key_size", u32),
        ("value_size", u32),
        ("max_entries", u32),
        ("map_flags", u32),
        ("name", ctypes.c_char * NAME_LENGTH),
    ]


class ProgInfo(ctypes.Structure):
    """`struct bpf_prog_info`, its beginning."""

    _fields_ = [
        ("type", u32),
        ("id", u32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", u32),
        ("xlated_prog_len", u32),
        ("jited_prog_insns", u64),
        ("xlated_prog_insns", u64),
        ("load_time", u64),
        ("created_by_uid", u32),
        ("nr_map_ids", u32),
        ("map_ids", u64),
        ("name", ctypes.c_char * NAME_LENGTH),
    ]
