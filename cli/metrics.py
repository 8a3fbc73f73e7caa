"""`ciliate metrics`: the agent's gauges."""

from __future__ import annotations

from typing import Any

import click

from cli.client import Places
from cli.output import output_option, print_table, show


@click.group()
def command() -> None:
    """The agent's metrics."""


@command.command("list")
@output_option
@click.pass_obj
def list_(places: Places, output: str | None) -> None:
    """What Prometheus would read now.

    How full the kernel's maps are, endpoints by state, identities, and whether the newest rules are in force.
    """
    found = _samples(places.agent(timeout=30.0).text("metrics"))
    rows = ((each["name"], _labels(each["labels"]), f"{each['value']:.15g}") for each in found)
    show(output, found, lambda: print_table(("NAME", "LABELS", "VALUE"), rows, empty="no metrics"))


def _samples(text: str) -> list[dict[str, Any]]:
    from prometheus_client.parser import text_string_to_metric_families

    return [
        {"name": sample.name, "labels": sample.labels, "value": sample.value}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def _labels(labels: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in labels.items()) or "-"
