"""abi.h and its Python mirror say the same, each about everything the other one names."""

from __future__ import annotations

import ctypes
import re
import subprocess
from enum import IntEnum
from pathlib import Path

import pytest

from datapath import abi
from model.flow import Direction, DropReason, EventType, Verdict
from model.identity import Reserved
from policy.mapstate import PolicyFlag

HEADER = Path(abi.__file__).parent / "bpf" / "abi.h"
TEXT = HEADER.read_text()

STRUCTS = re.findall(r"^struct (\w+) \{", TEXT, re.MULTILINE)
ENUMS = {
    name: re.findall(r"^\t([A-Z]\w+) =", body, re.MULTILINE)
    for name, body in re.findall(r"^enum (\w+) \{(.*?)^\};", TEXT, re.MULTILINE | re.DOTALL)
}

ENUM_MIRRORS: dict[str, tuple[type[IntEnum], str]] = {
    "drop_reason": (DropReason, "REASON_"),
    "event_type": (EventType, "EVENT_"),
    "verdict": (Verdict, "VERDICT_"),
    "direction": (Direction, "DIRECTION_"),
    "identity": (Reserved, "IDENTITY_"),
    "endpoint_flag": (abi.EndpointFlag, "ENDPOINT_"),
    "device_class": (abi.DeviceClass, "DEVICE_"),
    "ct_flag": (abi.CtFlag, "CT_"),
    "routing": (abi.Routing, "ROUTING_"),
    "packet_mark": (abi.PacketMark, "MARK_"),
    "policy_flag": (PolicyFlag, "POLICY_"),
}


def mirror_name(struct: str) -> str:
    return "".join(word.capitalize() for word in struct.split("_"))


def mirrors() -> dict[str, type[ctypes.Structure]]:
    return {
        name: value
        for name, value in vars(abi).items()
        if isinstance(value, type) and issubclass(value, ctypes.Structure)
    }


def run_c(tmp_path: Path, body: str) -> list[list[str]]:
    """Compile and run a probe that prints one fact a line, its parts separated by tabs."""
    source = tmp_path / "probe.c"
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "abi.h"\n'
        f"int main(void)\n{{\n{body}\n\treturn 0;\n}}\n"
    )
    subprocess.run(
        ["cc", "-Wall", "-Werror", f"-I{HEADER.parent}", "-o", tmp_path / "probe", source], check=True
    )
    output = subprocess.run([tmp_path / "probe"], check=True, capture_output=True, text=True).stdout
    return [line.split("\t") for line in output.splitlines()]


def c_fields(struct: str) -> list[str]:
    body = re.search(rf"^struct {struct} \{{(.*?)^\}};", TEXT, re.MULTILINE | re.DOTALL)
    assert body
    return re.findall(r"(\w+)(?:\[\w+\])*;", re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL))


def c_type(struct: str, field: str) -> str:
    found = re.search(rf"^struct {struct} \{{.*?(__\w+) {field}(?:\[\w+\])*;", TEXT, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_every_struct_has_a_mirror_and_every_mirror_a_struct() -> None:
    assert sorted(mirrors()) == sorted(mirror_name(struct) for struct in STRUCTS)


@pytest.mark.parametrize("struct", STRUCTS)
def test_a_struct_lies_in_memory_as_its_mirror_does(struct: str, tmp_path: Path) -> None:
    mirror = mirrors()[mirror_name(struct)]
    names = c_fields(struct)
    probe = f'printf("%zu\\n", sizeof(struct {struct}));\n' + "\n".join(
        f'printf("{name}\\t%zu\\t%zu\\n", offsetof(struct {struct}, {name}), '
        f"sizeof(((struct {struct} *)0)->{name}));"
        for name in names
    )
    size, *fields = run_c(tmp_path, probe)
    assert ctypes.sizeof(mirror) == int(size[0])
    assert [
        [name, str(getattr(mirror, name).offset), str(getattr(mirror, name).size)]
        for name, *_ in mirror._fields_
    ] == fields


@pytest.mark.parametrize("struct", STRUCTS)
def test_exactly_the_big_endian_fields_are_big_endian(struct: str) -> None:
    mirror = mirrors()[mirror_name(struct)]
    for name, kind, *_ in mirror._fields_:
        assert (kind in (abi.be16, abi.be32)) == c_type(struct, name).startswith("__be"), name


@pytest.mark.parametrize("struct", STRUCTS)
def test_the_fast_form_of_a_struct_has_its_size_and_offsets(struct: str) -> None:
    mirror = mirrors()[mirror_name(struct)]
    form = abi.packer(mirror)
    assert form.size == ctypes.sizeof(mirror)
    raw = bytes(number % 251 + 1 for number in range(form.size))
    whole = mirror.from_buffer_copy(raw)
    named = [(name, kind) for name, kind, *_ in mirror._fields_ if name != "pad"]
    for (name, _), value in zip(named, form.unpack(raw), strict=True):
        field = getattr(mirror, name)
        expected = getattr(whole, name) if isinstance(value, int) else raw[field.offset :][: field.size]
        assert value == expected, name


def test_every_enum_has_a_mirror_and_every_mirror_an_enum() -> None:
    assert sorted(ENUMS) == sorted(ENUM_MIRRORS)


@pytest.mark.parametrize("enum", [name for name in ENUMS if name != "drop_reason"])
def test_an_enum_has_the_names_and_numbers_of_its_mirror(enum: str, tmp_path: Path) -> None:
    mirror, prefix = ENUM_MIRRORS[enum]
    facts = run_c(tmp_path, "\n".join(f'printf("{name}\\t%d\\n", (int){name});' for name in ENUMS[enum]))
    assert {f"{prefix}{member.name}": int(member) for member in mirror} == {
        name: int(number) for name, number in facts
    }


def test_every_drop_reason_has_the_same_number_name_and_text(tmp_path: Path) -> None:
    facts = run_c(
        tmp_path,
        '#define X(name, number, text) printf("%s\\t%d\\t%s\\n", #name, (int)REASON_##name, text);\n'
        "DROP_REASONS(X)\n#undef X",
    )
    assert [[reason.name, str(int(reason)), reason.text] for reason in DropReason] == facts


def test_version(tmp_path: Path) -> None:
    assert run_c(tmp_path, 'printf("%d\\n", ABI_VERSION);') == [[str(abi.ABI_VERSION)]]


def test_numbers_that_c_only_says_in_a_comment() -> None:
    """How long a policy key's prefix is follows from where its fields lie."""
    key = abi.PolicyKey
    prefix_begins = key.identity.offset * 8
    assert key.protocol.offset * 8 - prefix_begins == abi.PREFIX_ANY_PROTOCOL
    assert key.port.offset * 8 - prefix_begins == abi.PREFIX_ANY_PORT


def test_a_port_reads_as_people_write_it() -> None:
    assert bytes(abi.PolicyKey(prefixlen=64, port=80))[-2:] == b"\0\x50"
