"""`ciliate bpf`: what the kernel holds, by subject."""

from __future__ import annotations

import click

from cli.client import Places
from cli.entries import print_entries
from cli.output import output_option, show

SUBJECTS = {
    "policy": (
        "policies",
        "The policy in force: which peers each local identity may talk to, and on which ports.",
    ),
    "ct": (
        "ct",
        "Tracked flows: both ends, the verdict's identities, packets and bytes each way, and expiry.",
    ),
    "ipcache": ("ipcache", "Addresses and ranges with their identities, as the datapath sees them."),
    "endpoint": ("endpoints", "Interfaces of containers, and who is behind each."),
    "metrics": ("metrics", "Packets and bytes forwarded and dropped, by reason and direction."),
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
