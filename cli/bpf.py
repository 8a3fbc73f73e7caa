"""`ciliate bpf`: what the kernel holds, by subject."""

from __future__ import annotations

import click

from cli.client import Places
from cli.entries import print_entries
from cli.output import output_option, show

SUBJECTS = {
    "policy": (
        "policies",
        "Who may talk to whom, and on which ports.",
    ),
    "ct": (
        "ct",
        "Tracked flows, their traffic and their expiry.",
    ),
    "ipcache": ("ipcache", "Addresses and ranges with their identities."),
    "endpoint": ("endpoints", "Interfaces of containers, and who is behind each."),
    "metrics": ("metrics", "Packets and bytes by reason and direction."),
}
"""Subject -> the map's name for the API, and the help."""


@click.group()
def command() -> None:
    """What the kernel holds, by subject.

    Read back from it: the truth when in doubt.
    """


def _add(subject: str, name: str, explanation: str) -> None:
    @command.group(subject, help=explanation)
    def group() -> None: ...

    @group.command("list", help=explanation)
    @output_option
    @click.pass_obj
    def list_(places: Places, output: str | None) -> None:
        entries = places.agent(timeout=30.0).get(f"map/{name}")
        show(output, entries, lambda: print_entries(entries, empty="nothing there"))


for subject, (name, explanation) in SUBJECTS.items():
    _add(subject, name, explanation)
