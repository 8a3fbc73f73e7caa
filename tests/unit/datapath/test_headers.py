"""Kernel headers are found as Debian and as others lay them out."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from datapath.headers import KernelHeaders, find_headers
from model.errors import Unavailable


def install(build: Path, *, common: Path | None = None) -> Path:
    (build / "include" / "generated").mkdir(parents=True)
    (build / "include" / "generated" / "autoconf.h").touch()
    source = build
    if common:
        (build / "Makefile").write_text(f"include {common}/Makefile\n")
        source = build.parents[1].parent / common.relative_to("/")
    (source / "include" / "linux").mkdir(parents=True)
    (source / "include" / "linux" / "kconfig.h").touch()
    return build


def test_the_running_kernels_own_come_first(tmp_path: Path) -> None:
    install(tmp_path / "usr/src/linux-headers-99.0.0-generic")
    own = install(tmp_path / "lib/modules" / platform.release() / "build")
    assert find_headers(tmp_path) == KernelHeaders(own, own)


def test_else_the_newest_by_number(tmp_path: Path) -> None:
    install(tmp_path / "usr/src/linux-headers-6.8.0-9-generic")
    newest = install(tmp_path / "usr/src/linux-headers-6.12.0-1-generic")
    assert find_headers(tmp_path) == KernelHeaders(newest, newest)


def test_debian_keeps_a_common_part_beside_each_flavour(tmp_path: Path) -> None:
    common = Path("/usr/src/linux-headers-6.1.0-56-common")
    build = install(tmp_path / "usr/src/linux-headers-6.1.0-56-amd64", common=common)
    headers = find_headers(tmp_path)
    assert headers == KernelHeaders(tmp_path / "usr/src/linux-headers-6.1.0-56-common", build)
    assert f"-I{build}/include/generated/uapi" in headers.flags()


def test_incomplete_ones_are_passed_over(tmp_path: Path) -> None:
    older = install(tmp_path / "usr/src/linux-headers-6.1.0-1-generic")
    (tmp_path / "usr/src/linux-headers-6.2.0-1-generic/include/generated").mkdir(parents=True)
    torn = install(tmp_path / "usr/src/linux-headers-6.3.0-1-amd64", common=Path("/usr/src/torn"))
    (tmp_path / "usr/src/torn/include/linux/kconfig.h").unlink()
    assert torn.exists()
    assert find_headers(tmp_path).build == older


def test_a_common_part_alone_is_none(tmp_path: Path) -> None:
    """It stays when the flavour that it belonged to is removed."""
    (tmp_path / "usr/src/linux-headers-6.1.0-56-common/include/linux").mkdir(parents=True)
    (tmp_path / "usr/src/linux-headers-6.1.0-56-common/include/linux/kconfig.h").touch()
    with pytest.raises(Unavailable):
        find_headers(tmp_path)


def test_none_at_all_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no kernel headers") as refusal:
        find_headers(tmp_path)
    assert f"linux-headers-{platform.release()}" in refusal.value.hint
