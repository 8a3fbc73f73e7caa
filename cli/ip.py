"""`ciliate ip`: who an address is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli import words
from cli.client import Places
from cli.output import output_option, print_table, show
from model.network import ELSEWHERE

COLUMNS = ("PREFIX", "IDENTITY", "ENDPOINT", "NETWORK", "NODE")


@click.group()
def command() -> None:
    """Addresses, and the identities behind them."""


def _network(address: Mapping[str, Any]) -> str:
    if address["network"] == ELSEWHERE:
        return "of its host"
    return str(address["network_name"] or address["network"] or "-")


def _row(address: Mapping[str, Any]) -> tuple[str | int, ...]:
    return (
        address["prefix"],
        words.identity(address["identity"]),
        address["endpoint"] or "-",
        _network(address),
        address["node"] or "-",
    )


@command.command("list")
@output_option
@click.pass_obj
def list_(places: Places, output: str | None) -> None:
    """All addresses and ranges whose identity is known.

    What is in no range is world. A range of ciliate's own pools is `unknown` until a container has the
    address: traffic with it is dropped.
    """
    addresses = places.agent().get("ip")
    show(output, addresses, lambda: print_table(COLUMNS, map(_row, addresses), empty="no addresses"))
