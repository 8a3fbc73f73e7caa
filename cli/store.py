"""`ciliate store`: what is stored for all nodes, as a file; and from one store to another."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from cli.client import Places
from cli.output import output_option, show
from model.errors import InvalidInput, Unavailable

_SECONDS = 60.0

replace_option = click.option(
    "--replace", is_flag=True, help="Also where other rules are stored under one of the names."
)


@click.group()
def command() -> None:
    """What is stored for all nodes: rules. Identities, addresses and nodes make themselves."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.pass_obj
def backup(places: Places, file: Path) -> None:
    """Write all stored rules to FILE, or to stdout (-).

    \b
    ciliate store backup rules.json
    """
    document = places.agent(_SECONDS).get("store/backup")
    text = json.dumps(document, indent=2) + "\n"
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    try:
        file.write_text(text)
    except OSError as error:
        raise Unavailable(f"{file} cannot be written: {error.strerror}") from None
    click.echo(_sets(len(document["policies"]), "written"))


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@replace_option
@output_option
@click.pass_obj
def restore(places: Places, file: Path, replace: bool, output: str | None) -> None:
    """Store the rules that `backup` has written.

    They are read from FILE, or from stdin (-). Other sets stay.

    \b
    ciliate store restore rules.json
    """
    try:
        document = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInput(f"{file} is no backup: {error}") from None
    _tell(output, places.agent(_SECONDS).put("store/restore", document, {"replace": str(replace).lower()}))


@command.command()
@replace_option
@output_option
@click.pass_obj
def migrate(places: Places, replace: bool, output: str | None) -> None:
    """Store the rules that this host's embedded store holds.

    They were kept there before the agent was given Consul.

    \b
    ciliate store migrate
    """
    _tell(output, places.agent(_SECONDS).post("store/migrate", {"replace": str(replace).lower()}))


def _tell(output: str | None, answer: Any) -> None:
    def readable() -> None:
        click.echo(f"{_sets(len(answer['stored']), 'stored')}, {answer['unchanged']} there already")

    show(output, answer, readable)


def _sets(count: int, what: str) -> str:
    return f"{count} {'set' if count == 1 else 'sets'} of rules {what}"
