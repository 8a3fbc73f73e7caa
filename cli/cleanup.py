"""`ciliate cleanup`: leave no trace. The agent's own program does it, so that it works with the agent down."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from model.errors import NotFound


def agent_program(interpreter: Path) -> Path:
    """The agent belongs to the same environment as this command."""
    program = interpreter.parent / "ciliate-agent"
    if not program.exists():
        raise NotFound(
            f"{program} does not exist",
            hint="run the `ciliate` of the installation that you want to remove",
        )
    return program


@click.command()
@click.option(
    "--force",
    is_flag=True,
    help="Even while containers are attached: they lose their network at once.",
)
def command(force: bool) -> None:
    """Remove all that ciliate made on this host.

    That is the agent itself, its programs, maps, links, firewall rules and sockets, and its state: policies and
    identities too. Refuses while endpoints exist, and says which containers to stop first. Containers that are stopped
    and networks stay with Docker, and cannot be used without ciliate: it says which these are.
    """
    program = agent_program(Path(sys.executable))
    os.execv(program, [str(program), "--cleanup", *(["--force"] if force else [])])
