"""How answers are shown: a table for people, JSON and YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.words import Cell

if TYPE_CHECKING:
    from rich.console import RenderableType

F = TypeVar("F", bound=Callable[..., Any])

PIPE_WIDTH = 4000
"""Columns where no terminal reads: a row is one line there, so that grep and awk work."""


def output_option(function: F) -> F:
    """`-o json|yaml`; the command gets `output`, None for the readable form."""
    return click.option(
        "-o", "--output", type=click.Choice(["json", "yaml"]), help="Print JSON or YAML instead of a table."
    )(function)


def printable(text: str) -> str:
    """`text` without anything that would steer a terminal: labels come from strangers."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def show(output: str | None, data: object, readable: Callable[[], None]) -> None:
    if output == "json":
        click.echo(json.dumps(data, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
    else:
        readable()


def _print(renderable: RenderableType) -> None:
    """On a terminal as wide as it is, or wider where words would be cut; elsewhere a line for each row, without
    blanks at its end."""
    from rich.console import Console

    endless = Console(highlight=False, width=PIPE_WIDTH)
    if sys.stdout.isatty():
        width = max(Console().width, endless.measure(renderable).minimum)
        Console(highlight=False, width=width).print(renderable)
        return
    with endless.capture() as captured:
        endless.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | int | Cell]], *, empty: str) -> None:
    """`empty` is said on stderr when there are no rows. The last column may wrap on a terminal, others not."""
    lines = [[_cell(value) for value in row] for row in rows]
    if not lines:
        click.echo(empty, err=True)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    for line in lines:
        table.add_row(*(Text(printable(cell.text), cell.style) for cell in line))
    _print(table)


def _cell(value: str | int | Cell) -> Cell:
    return value if isinstance(value, Cell) else Cell(str(value))


def print_facts(facts: Iterable[tuple[str, str | int | Cell | Sequence[str]]]) -> None:
    """`name  value` lines; a sequence takes a line for each item."""
    rows: list[tuple[Cell, Cell]] = []
    for name, value in facts:
        values = [_cell(value)] if isinstance(value, str | int | Cell) else [Cell(item) for item in value]
        for position, cell in enumerate(values or [Cell("-")]):
            rows.append((Cell("" if position else name, "bold"), cell))
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for left, right in rows:
        grid.add_row(*(Text(printable(cell.text), cell.style) for cell in (left, right)))
    _print(grid)


def print_lines(lines: Iterable[Sequence[str | Cell]]) -> None:
    """Text for reading, in which some words have a colour."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for pieces in lines:
        cells = map(_cell, pieces)
        console.print(Text.assemble(*((printable(cell.text), cell.style) for cell in cells)))


def print_warning(kind: str, text: str, hint: str, *, err: bool = False) -> None:
    """`kind` is one upper-case word; there may be no hint."""
    click.echo(f"{click.style(kind, fg='yellow', bold=True)} {printable(text)}", err=err)
    if hint:
        click.echo(f"  {click.style('hint:', fg='cyan')} {printable(hint)}", err=err)
