"""`ciliate node`: the hosts of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli import words
from cli.client import Places
from cli.output import output_option, print_table, show
from cli.words import Cell

COLUMNS = ("NAME", "STATE", "ADDRESSES", "TUNNEL", "SLICES", "CONTAINERS")


@click.group()
def command() -> None:
    """Nodes: the hosts that share this one's store."""


def _state(node: Mapping[str, Any]) -> Cell:
    if node["local"]:
        return Cell("this one", words.GOOD)
    if node["state"] == "here":
        return Cell("here", words.GOOD)
    return Cell(f"{node['state']} {words.duration(node['left_seconds'])} ago", words.WAITING)


def _row(node: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        node["name"],
        _state(node),
        " ".join(node["addresses"]) or "-",
        node["tunnel"] or "-",
        " ".join(node["slices"]) or "-",
        node["containers"],
    )


@command.command("list")
@output_option
@click.pass_obj
def list_(places: Places, output: str | None) -> None:
    """The nodes, this one first.

    One that has left the store may only be cut off from it: its containers stay known for ten minutes.
    CONTAINERS counts the addresses that others know.
    """
    nodes = places.agent().get("node")
    show(output, nodes, lambda: print_table(COLUMNS, map(_row, nodes), empty="this host is alone"))
