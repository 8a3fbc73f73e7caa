"""The machine tells how a command ended, and when it did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.boot import Broken, run
from tests.vm.fetch import Unpacked


@pytest.fixture(scope="session")
def kernel(kernels: dict[str, Unpacked]) -> Unpacked:
    return kernels["6.12"]


def test_a_command_runs_on_that_kernel_and_its_status_and_words_come_back(
    kernel: Unpacked, tmp_path: Path
) -> None:
    words, kept, lost = tmp_path / "words", tmp_path / "kept", Path(__file__).with_name("lost")
    with words.open("wb") as output:
        command = f"uname -r; echo kept >/run/machine/kept; echo lost >{lost}; exit 7"
        assert run(kernel, command, folder=tmp_path, output=output.fileno()) == 7
    assert words.read_text().splitlines() == [kernel.release]
    assert kept.read_text() == "kept\n"
    assert not lost.exists(), "the host's files are only read"


def test_a_kernel_that_dies_says_why(kernel: Unpacked, tmp_path: Path) -> None:
    with pytest.raises(Broken, match="without a status") as broken:
        run(kernel, "echo c >/proc/sysrq-trigger", folder=tmp_path)
    assert "sysrq_handle_crash" in broken.value.console


def test_a_machine_that_does_not_end_is_ended(kernel: Unpacked, tmp_path: Path) -> None:
    with pytest.raises(Broken, match="no end after 2 s"):
        run(kernel, "sleep infinity", folder=tmp_path, timeout=2)
