"""`ciliate config`: the settings in force, and those that can be changed while the agent runs."""

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


def _changes(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str | None]:
    changes: dict[str, str | None] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        changes[name] = value or None
    return changes


@click.command()
@click.argument("changes", metavar="[NAME=VALUE]...", nargs=-1, callback=_changes)
@click.option("--given", is_flag=True, help="Only settings that are not at their default.")
@output_option
@click.pass_obj
def command(places: Places, changes: dict[str, str | None], given: bool, output: str | None) -> None:
    """Every setting and its value.

    Settings are environment variables of the agent; /etc/ciliate/ciliate.env holds them. They are read at
    its start. CILIATE_POLICY_ENFORCEMENT and CILIATE_POLICY_AUDIT can be changed while it runs: NAME=VALUE is in
    force at once and stays so, also after a restart, until NAME= takes it back.

    \b
    ciliate config --given
    ciliate config CILIATE_POLICY_AUDIT=true
    ciliate config CILIATE_POLICY_AUDIT=
    """
    agent = places.agent()
    settings = agent.patch("config", changes) if changes else agent.get("config")
    if given:
        settings = [setting for setting in settings if setting["source"] != "default"]
    show(
        output,
        settings,
        lambda: print_table(
            ("NAME", "VALUE", "FROM", "MEANING"), map(_row, settings), empty="every setting is at its default"
        ),
    )
