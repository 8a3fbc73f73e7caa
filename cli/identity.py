"""`ciliate identity`: numbers that stand for sets of labels."""

from __future__ import annotations

import click

from cli import words
from cli.client import Places
from cli.complete import identity_numbers
from cli.output import output_option, print_facts, print_table, show


@click.group()
def command() -> None:
    """Identities: numbers for sets of labels.

    Policy judges identities, not addresses. Containers with the same labels share one.
    """


@command.command("list")
@click.option("--used", is_flag=True, help="Only those that endpoints of this host have, and how many.")
@output_option
@click.pass_obj
def list_(places: Places, used: bool, output: str | None) -> None:
    """All identities that this host knows.

    Reserved ones, those of containers, and those of address ranges that rules name.
    """
    identities = places.agent().get("identity/endpoints" if used else "identity")
    columns = ("ID", "ENDPOINTS", "LABELS") if used else ("ID", "LABELS")

    def row(identity: dict[str, object]) -> tuple[str, ...]:
        cells = (str(identity["id"]), str(identity.get("endpoints")), words.labels(identity["labels"]))  # type: ignore[arg-type]
        return cells if used else (cells[0], cells[2])

    show(output, identities, lambda: print_table(columns, map(row, identities), empty="no identities"))


@command.command()
@click.argument("identity", type=click.IntRange(0), metavar="ID", shell_complete=identity_numbers)
@output_option
@click.pass_obj
def get(places: Places, identity: int, output: str | None) -> None:
    """The labels that identity ID stands for."""
    found = places.agent().get(f"identity/{identity}")
    show(
        output,
        found,
        lambda: print_facts((("Identity", found["id"]), ("Labels", found["labels"]))),
    )
