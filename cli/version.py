"""`ciliate version`: of this command and of the agent that answers."""

from __future__ import annotations

import click

from cli.client import Places
from cli.output import output_option, print_facts, show
from model.errors import Unavailable
from model.version import VERSION


@click.command()
@output_option
@click.pass_obj
def command(places: Places, output: str | None) -> None:
    """Versions of this command and the agent."""
    try:
        agent = places.agent(timeout=2.0).get("healthz")["version"]
    except Unavailable:
        agent = ""
    versions = {"command": VERSION, "agent": agent}
    show(
        output,
        versions,
        lambda: print_facts((("Command", versions["command"]), ("Agent", agent or "does not answer"))),
    )
