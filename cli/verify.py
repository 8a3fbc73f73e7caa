"""`ciliate policy verify`: are the verdicts those of the rules?"""

from __future__ import annotations

from typing import Any

import click

from cli.client import Places, Query
from cli.output import output_option, print_table, show
from cli.words import Cell

COLUMNS = ("FROM", "TO", "PORT", "PACKET", "RULES", "TWIN", "KERNEL", "LABELS")

SLACK_SECONDS = 120
"""Beside the time that was asked for: to begin, perhaps to compile, and to ask again what differed."""


@click.command()
@click.option(
    "--pairs",
    metavar="NUMBER",
    type=click.IntRange(1, 10_000_000),
    default=2000,
    show_default=True,
    help="How many pairs of ends to ask about, chosen at random where there are more.",
)
@click.option("--all", "everything", is_flag=True, help="Ask about every pair, however long it takes.")
@click.option(
    "--seconds",
    metavar="SECONDS",
    type=click.FloatRange(1, 3600),
    help="End after so many, whatever is left: 20 if it is not given, an hour with --all.",
)
@click.option(
    "--seed", metavar="NUMBER", type=click.IntRange(0, 2**32 - 1), help="Ask about the same packets again."
)
@output_option
@click.pass_obj
def verify(
    places: Places, pairs: int, everything: bool, seconds: float | None, seed: int | None, output: str | None
) -> int:
    """Ask whether the kernel does what the rules say.

    Packets between the containers of this host, and between them and the host, the world and others, are judged three
    times: by the rules, by the entries that the rules make, and by the programs in the kernel over the entries that
    are there. Most are at the edges of what the rules name. Nothing is sent, and no flow, counter or event changes.

    Exit status 1 if any two differ.
    """
    limit = seconds or (3600.0 if everything else 20.0)
    query: dict[str, str | int | float] = {"pairs": 0 if everything else pairs, "seconds": limit}
    if seed is not None:
        query["seed"] = seed
    answer = _ask(places, query, limit)
    show(output, answer, lambda: _tell(answer))
    return 1 if answer["disagreements"] else 0


def _ask(places: Places, query: Query, limit: float) -> Any:
    return places.agent(limit + SLACK_SECONDS).post("policy/verify", query)


def _tell(answer: Any) -> None:
    found = answer["disagreements"]
    number = f"{len(found)} disagreement{'' if len(found) == 1 else 's'}"
    if found:
        print_table(COLUMNS, map(_row, found), empty="")
    click.echo(
        f"{answer['packets']:,} packets between {answer['pairs']:,} of {answer['of']:,} pairs "
        f"({answer['endpoints']} endpoints, {answer['rules']} rules): "
        + (number if found else "rules and kernel agree")
    )
    if not answer["complete"]:
        click.echo("the time was over before all were asked about; give more with --seconds", err=True)
    if found:
        click.echo(f"this is a fault of ciliate: please report it, with seed {answer['seed']}", err=True)


def _row(found: Any) -> tuple[str | Cell, ...]:
    source, destination = found["source"], found["destination"]
    return (
        _end(source),
        _end(destination),
        f"{found['port']}/{found['protocol']}" + (" published" if found["published"] else ""),
        found["packet"],
        found["rules"],
        found["twin"],
        Cell(found["kernel"], "red"),
        f"{', '.join(source['labels'])} -> {', '.join(destination['labels'])}",
    )


def _end(end: Any) -> str:
    return f"{end['name'] or end['endpoint']} ({end['address']})" if end["endpoint"] else end["address"]
