"""The loader: compile once, load every time, replace what is old, keep what maps hold."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath import syscall
from datapath.abi import ABI_VERSION
from datapath.attach import attach, attached
from datapath.cleanup import remove_old_pins, remove_pins
from datapath.codec import encode_long, encode_number
from datapath.compile import PROGRAMS
from datapath.kernel import KernelDatapath
from datapath.loader import load, main, prebuild
from datapath.maps import sized
from datapath.pins import is_bpffs, open_map, open_or_create_maps, open_program, prepare, programs_directory
from datapath.tables import DeviceClass
from model.errors import Conflict, InvalidInput, NotFound, Unavailable
from tests.conftest import require
from tests.kernel import netns

SMALL = {"endpoints": 16, "hosts4": 16, "ct4": 1024, "ct6": 1024, "fragments4": 64, "fragments6": 64}

TINY = """
#include "tiny.h"
static void *(*lookup)(const void *map, const void *key) = (void *)1;
int from_container(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *epoch = lookup((void *)bpf_pseudo_fd(1, MAP_FD_epoch), &zero);

	return epoch ? *epoch : VERDICT;
}
int to_container(struct __sk_buff *skb)
{
	return VERDICT + HAVE_COARSE_CLOCK * 0;
}
"""


@pytest.fixture
def root(bpf_root: Path) -> Path:
    return bpf_root / "ciliate"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    directory = tmp_path / "sources"
    directory.mkdir()
    (directory / "container.c").write_text(TINY)
    (directory / "overlay.c").write_text(TINY.replace("_container", "_overlay"))
    change_verdict(directory, 2)
    return directory


def change_verdict(sources: Path, verdict: int) -> None:
    (sources / "tiny.h").write_text(f"#include <uapi/linux/bpf.h>\n#define VERDICT {verdict}\n")


def run(root: Path, name: str) -> int:
    program = open_program(root, name)
    try:
        return syscall.run_program(program, bytes(60)).result
    finally:
        os.close(program)


def test_a_program_is_compiled_once_and_finds_its_map(root: Path, cache: Path, sources: Path) -> None:
    assert load(root, cache, SMALL, sources=sources).compiled
    assert run(root, "to_container") == 2
    epoch = open_map(root, "epoch")
    syscall.update(epoch, encode_number(0), encode_long(41))
    os.close(epoch)
    assert run(root, "from_container") == 41
    assert not load(root, cache, SMALL, sources=sources).compiled
    assert run(root, "from_container") == 41


def test_a_damaged_cache_costs_a_compilation(root: Path, cache: Path, sources: Path) -> None:
    load(root, cache, SMALL, sources=sources)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert load(root, cache, SMALL, sources=sources).compiled
    assert not load(root, cache, SMALL, sources=sources).compiled


def test_shipped_programs_need_no_compiler(root: Path, cache: Path, sources: Path, tmp_path: Path) -> None:
    assert prebuild(tmp_path / "prebuilt", sources=sources) == 4
    assert prebuild(tmp_path / "prebuilt", sources=sources) == 0, "they are there"
    assert not load(root, cache, SMALL, sources=sources, prebuilt=tmp_path / "prebuilt").compiled
    assert not cache.exists()
    assert run(root, "to_container") == 2


def test_programs_of_other_sources_are_not_shipped(sources: Path, tmp_path: Path) -> None:
    prebuilt = tmp_path / "prebuilt"
    prebuild(prebuilt, sources=sources)
    before = set(prebuilt.iterdir())
    change_verdict(sources, 0)
    assert prebuild(prebuilt, sources=sources) == 4
    after = set(prebuilt.iterdir())
    assert len(after) == 4 and not before & after


WITHOUT = """
set -eu
mkdir "$1"
for hidden in /lib/modules /usr/src /usr/lib/python3/dist-packages/bcc; do
	[ ! -d "$hidden" ] || mount --bind "$1" "$hidden"
done
shift
exec "$@"
"""
"""Runs a command where there are no kernel headers and no BCC."""


def test_a_host_without_headers_and_compiler_starts_with_programs_made_elsewhere(
    root: Path, cache: Path, tmp_path: Path
) -> None:
    prebuilt = tmp_path / "prebuilt"
    prebuild(prebuilt)

    def start(made: Path) -> subprocess.CompletedProcess[str]:
        code = (
            "import sys; from pathlib import Path; from datapath.loader import load;"
            "print(load(Path(sys.argv[1]), Path(sys.argv[2]), {}, prebuilt=Path(sys.argv[3])).compiled)"
        )
        hidden = tmp_path / f"nothing-beside-{made.name}"
        without = ["unshare", "--mount", "--propagation=slave", "bash", "-c", WITHOUT, "bash", hidden]
        start = [sys.executable, "-c", code, root, cache, made]
        return subprocess.run([*without, *start], capture_output=True, text=True)

    refused = start(tmp_path / "none")
    assert refused.returncode and "no kernel headers are installed" in refused.stderr, refused
    started = start(prebuilt)
    assert started.stdout == "False\n", started
    assert open_programs(root) == sorted(PROGRAMS)


def open_in(version: Path, name: str) -> int:
    return syscall.get_pinned(str(version / "progs" / name))


def open_programs(root: Path) -> list[str]:
    return sorted(path.name for path in programs_directory(root).iterdir())


def test_an_upgrade_replaces_programs_and_keeps_what_maps_hold(
    root: Path, cache: Path, sources: Path
) -> None:
    load(root, cache, SMALL, sources=sources)
    with KernelDatapath(root) as datapath:
        datapath.devices.put(2, DeviceClass.UPLINK)
        epoch = datapath.bump_epoch()
    change_verdict(sources, 0)
    assert load(root, cache, SMALL, sources=sources).compiled
    assert run(root, "to_container") == 0
    with KernelDatapath(root) as datapath:
        assert datapath.devices.get(2) == DeviceClass.UPLINK
        assert datapath.bump_epoch() == epoch + 1
    assert open_programs(root) == sorted(PROGRAMS)


def test_an_upgrade_that_was_cut_off_is_repeated(root: Path, cache: Path, sources: Path) -> None:
    load(root, cache, SMALL, sources=sources)
    program = open_program(root, "to_container")
    syscall.pin(program, str(programs_directory(root) / "to_container_new"))
    os.close(program)
    load(root, cache, SMALL, sources=sources)
    assert not (programs_directory(root) / "to_container_new").exists()


def test_a_map_of_another_size_is_not_thrown_away(root: Path, cache: Path, sources: Path) -> None:
    load(root, cache, SMALL, sources=sources)
    with pytest.raises(Conflict, match=r"maps/endpoints has .* size 16") as refusal:
        load(root, cache, {**SMALL, "endpoints": 17}, sources=sources)
    assert "cleanup" in refusal.value.hint


def test_nothing_is_made_where_the_c_is_wrong(root: Path, cache: Path, sources: Path) -> None:
    (sources / "tiny.h").write_text("#include <uapi/linux/bpf.h>\n")
    with pytest.raises(Unavailable, match=r"cannot compile container.c: .*undeclared identifier 'VERDICT'"):
        load(root, cache, SMALL, sources=sources)
    assert not root.exists()
    assert not cache.exists()


def test_no_program_is_replaced_unless_all_are_sound(root: Path, cache: Path, sources: Path) -> None:
    load(root, cache, SMALL, sources=sources)
    change_verdict(sources, 0)
    (sources / "container.c").write_text(
        TINY.replace("return VERDICT + HAVE_COARSE_CLOCK * 0;", "return *(volatile int *)(long)skb->mark;")
    )
    with pytest.raises(Unavailable, match="the kernel refuses program to_container"):
        load(root, cache, SMALL, sources=sources)
    assert run(root, "to_container") == 2


def test_the_real_programs_load(root: Path, cache: Path) -> None:
    assert load(root, cache, SMALL).compiled
    assert not load(root, cache, SMALL).compiled
    # Nobody's packet: no endpoint is known yet, so it is dropped and counted.
    assert run(root, "from_container") == 2
    with KernelDatapath(root) as datapath:
        assert sum(packets for packets, _ in datapath.metrics().values()) == 1


class TestFileSystem:
    @pytest.fixture
    def bare(self, tmp_path: Path) -> Iterator[Path]:
        require(os.geteuid() == 0, "root, to mount")
        yield tmp_path / "bpf"
        remove_pins(tmp_path / "bpf")

    def test_one_is_mounted_where_none_is_and_goes_with_the_pins(self, bare: Path) -> None:
        for _ in range(2):
            prepare(bare)
            assert is_bpffs(bare)
        for fd in open_or_create_maps(bare, sized(SMALL))[0].values():
            os.close(fd)
        assert remove_pins(bare) == len(sized({})) - 1
        assert not bare.exists()

    def test_cleaning_up_takes_every_version_and_nothing_beside(
        self, root: Path, cache: Path, sources: Path
    ) -> None:
        load(root, cache, SMALL, sources=sources)
        other = root.parent / "other"
        other.mkdir()
        shutil.copytree(root / str(ABI_VERSION), root / "0", copy_function=lambda old, new: os.link(old, new))
        assert remove_pins(root) == 2 * (len(sized({})) - 1 + len(PROGRAMS))
        assert not root.exists()
        assert other.exists()
        assert remove_pins(root) == 0

    def test_another_version_goes_unless_it_judges_traffic(
        self, root: Path, cache: Path, sources: Path
    ) -> None:
        load(root, cache, SMALL, sources=sources)
        shutil.copytree(root / str(ABI_VERSION), root / "0", copy_function=lambda old, new: os.link(old, new))
        change_verdict(sources, 0)
        load(root, cache, SMALL, sources=sources)
        with netns.entered():
            subprocess.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
            ifindex = socket.if_nametoindex("v0")
            old = [open_in(root / "0", name) for name in ("from_container", "to_container")]
            attach(ifindex, *old)
            assert remove_old_pins(root, [ifindex, 999]) == []
            assert (root / "0" / "maps" / "epoch").exists()
            attach(
                ifindex,
                *(open_in(root / str(ABI_VERSION), name) for name in ("from_container", "to_container")),
            )
            assert remove_old_pins(root, [ifindex, 999]) == ["0"]
            assert attached(ifindex)
        assert not (root / "0").exists()
        assert len(open_programs(root)) == len(PROGRAMS)
        assert remove_old_pins(root, []) == []

    def test_opening_before_loading_says_so(self, root: Path) -> None:
        with pytest.raises(NotFound, match="is not there"):
            KernelDatapath(root)


class TestCommand:
    def test_one_line_of_json(self, root: Path, cache: Path) -> None:
        arguments = [f"--size={name}={size}" for name, size in SMALL.items()]
        command = [sys.executable, "-m", "datapath.loader", f"--root={root}", f"--cache={cache}", *arguments]
        for compiled in (True, False):
            done = subprocess.run(command, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, "")
            (line,) = done.stdout.splitlines()
            report = json.loads(line)
            assert report["compiled"] is compiled
            assert report["features"]["ringbuf"] is True
            assert 0 < report["seconds"] < 60

    def test_a_failure_ends_with_one_line_and_status_1(
        self, root: Path, cache: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--root", str(root), "--cache", str(cache), "--size", "nonsense=4"]) == 1
        assert "no map 'nonsense'" in capfd.readouterr().err.splitlines()[-1]
        assert main([]) == 1
        assert "give --root and --cache" in capfd.readouterr().err

    def test_a_place_that_cannot_be(self, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
        require(os.geteuid() == 0, "root, to load programs")
        assert main(["--root", "/proc/ciliate", "--cache", str(cache)]) == 1
        assert "/proc/ciliate" in capfd.readouterr().err.splitlines()[-1]


def test_unknown_sizes_are_refused(root: Path, cache: Path, sources: Path) -> None:
    with pytest.raises(InvalidInput, match="no map 'nonsense'"):
        load(root, cache, {"nonsense": 1}, sources=sources)
