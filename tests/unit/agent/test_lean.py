"""What the agent does without stays out, and is still there for who asks."""

from __future__ import annotations

import subprocess
import sys


def loaded_after(program: str) -> set[str]:
    """The modules of a new interpreter that has run this; nothing may be said."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*(m for m in sys.modules if sys.modules[m]))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return set(done.stdout.split())


def test_the_heavy_halves_of_libraries_stay_out() -> None:
    loaded = loaded_after("import agent.lean, driver.links, driver.hostview, docker, structlog")
    assert {"pyroute2.netlink.rtnl.ifinfmsg", "docker.api", "structlog"} <= loaded
    assert not {"pyroute2.ndb", "pyroute2.iproute", "chardet", "charset_normalizer", "rich"} & loaded


def test_a_package_that_was_opened_gives_all_it_has_when_asked() -> None:
    loaded = loaded_after(
        "import agent.lean, driver.links\nfrom pyroute2 import IPRoute, netns\nIPRoute().close()"
    )
    assert "pyroute2.iproute.linux" in loaded
