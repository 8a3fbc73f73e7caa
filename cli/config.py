"""`ciliate config`: the settings in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli.client import Places
from cli.output import output_option, print_table, show
from cli.words import Cell


def _row(setting: Mapping[str, Any]) -> tuple[str | Cell, ...]:
    given = setting["source"] != "default"
    return (
        setting["name"],
        Cell(setting["value"] or "-", "bold" if given else ""),
        setting["source"],
        f"{setting['help']} (not yet: {setting['unbuilt']})" if setting.get("unbuilt") else setting["help"],
    )


@click.command()
@click.option("--given", is_flag=True, help="Only settings that are not at their default.")
@output_option
@click.pass_obj
def command(places: Places, given: bool, output: str | None) -> None:
    """Every setting and its value.

    Settings are environment variables of the agent; /etc/ciliate/ciliate.env holds them. They are read at
    its start.
    """
    settings = places.agent().get("config")
    if given:
        settings = [setting for setting in settings if setting["source"] != "default"]
    show(
        output,
        settings,
        lambda: print_table(
            ("NAME", "VALUE", "FROM", "MEANING"), map(_row, settings), empty="every setting is at its default"
        ),
    )
