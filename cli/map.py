"""`ciliate map`: the kernel's maps and how full they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from cli import words
from cli.advice import needs_room
from cli.client import Places
from cli.complete import map_names
from cli.entries import print_entries
from cli.output import output_option, print_table, show
from cli.words import Cell

COLUMNS = ("NAME", "TYPE", "ENTRIES", "MOST", "FULL", "KEY", "VALUE", "READ")


@click.group()
def command() -> None:
    """The kernel's maps, and how full they are."""


def fullness(kernel_map: Mapping[str, Any]) -> Cell:
    """`-` where counting means nothing: rings, and arrays, which are always full."""
    entries = kernel_map["entries"]
    if entries is None:
        return Cell("-")
    return Cell(words.share(entries, kernel_map["max_entries"]), words.BAD if needs_room(kernel_map) else "")


def _row(kernel_map: Mapping[str, Any]) -> tuple[str | int | Cell, ...]:
    return (
        kernel_map["name"],
        kernel_map["type"],
        "-" if kernel_map["entries"] is None else kernel_map["entries"],
        kernel_map["max_entries"],
        fullness(kernel_map),
        kernel_map["key_size"],
        kernel_map["value_size"],
        words.yes(kernel_map["readable"]),
    )


def print_maps(maps: Iterable[Mapping[str, Any]]) -> None:
    print_table(COLUMNS, map(_row, maps), empty="no maps")


@command.command("list")
@output_option
@click.pass_obj
def list_(places: Places, output: str | None) -> None:
    """All maps and how full they are.

    ENTRIES and MOST count what a map holds and can hold; KEY and VALUE are the bytes of each; READ, whether
    `ciliate map get` shows its entries.
    """
    maps = places.agent().get("map")
    show(output, maps, lambda: print_maps(maps))


@command.command()
@click.argument("name", shell_complete=map_names)
@output_option
@click.pass_obj
def get(places: Places, name: str, output: str | None) -> None:
    """All entries of the map NAME.

    Also of `ct` (ct4 and ct6) and of `ipcache` (hosts and prefixes of both families). Maps that are the
    programs' own (READ says no in `ciliate map list`) have none to show.
    """
    entries = places.agent(timeout=30.0).get(f"map/{name}")
    show(output, entries, lambda: print_entries(entries, empty=f"{name} is empty"))
