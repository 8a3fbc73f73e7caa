"""`ciliate monitor`: flows as they happen, a line each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from cli.client import Places
from cli.output import printable

Flow = Mapping[str, Any]

VERDICTS = {"DROPPED": "red", "FORWARDED": "green", "AUDIT": "yellow"}


def peer(side: Mapping[str, Any], protocol: str) -> str:
    """`client 10.200.0.3:40000 [app=client]`"""
    ip = f"[{side['ip']}]" if ":" in side["ip"] and side["port"] else side["ip"]
    address = f"{ip}:{side['port']}" if side["port"] and not protocol.startswith("ICMP") else ip
    known = " ".join(short_labels(side["labels"])) or f"identity {side['identity']}"
    return " ".join(part for part in (side["name"], address, f"[{known}]") if part)


def short_labels(labels: Sequence[str]) -> list[str]:
    """What tells sides apart at a glance: the container's own labels go without their source, the network's
    label is left out, and of two worlds the narrower is shown."""
    shown = [label.removeprefix("container:") for label in labels if not label.startswith("network:")]
    if any(label.startswith("reserved:world-") for label in shown):
        shown.remove("reserved:world")
    return shown


def line(flow: Flow) -> str:
    if "lost" in flow:
        return click.style(f"{clock(flow)} {flow['lost']} flows lost ({flow['where']})", fg="yellow")
    protocol = flow["protocol"]
    detail = ",".join(flow["tcp_flags"]) or (
        f"type {flow['icmp_type']}" if flow["icmp_type"] is not None else ""
    )
    parts = (
        click.style(clock(flow), dim=True),
        click.style(f"{flow['verdict']:<9}", fg=VERDICTS.get(flow["verdict"]), bold=True),
        f"{flow['direction'].lower():<7}",
        click.style(printable(peer(flow["source"], protocol)), fg="cyan"),
        "->",
        click.style(printable(peer(flow["destination"], protocol)), fg="cyan"),
        f"{protocol} {detail}".strip(),
        "" if flow["verdict"] == "FORWARDED" else click.style(flow["reason_text"], fg="red"),
    )
    return " ".join(part for part in parts if part)


def clock(flow: Flow) -> str:
    """The local time of day, to the millisecond."""
    return datetime.fromisoformat(flow["time"]).astimezone().strftime("%H:%M:%S.%f")[:-3]


FILTERS = (
    ("--type", "drop or policy-verdict (the first packet of a flow that was let through)"),
    ("--verdict", "forwarded, dropped or audit (policy denies it, and it passed)"),
    ("--reason", "why it was dropped, such as policy-denied"),
    ("--direction", "ingress or egress, as the container sees it"),
    ("--protocol", "tcp, udp, icmp, icmpv6, sctp, or a number"),
    ("--from", "the side that sent: a container's name, label, identity, address or network"),
    ("--to", "the side that it was for: the same"),
    ("--peer", "either side: the same"),
    ("--label", "a label of either side: key, key=value or source:key=value"),
    ("--name", "container's name of either side; * for any text"),
    ("--ip", "address or network of either side"),
    ("--port", "port of either side"),
    ("--to-port", "port that it was for"),
    ("--identity", "number or reserved name of either side"),
    ("--endpoint", "number of the endpoint that judged"),
)
"""Option -> help. Each is a filter of GET /v1/flows of the same name and may be repeated."""


def filter_options(function: Any) -> Any:
    for option, explanation in reversed(FILTERS):
        name = f"filter_{option.removeprefix('--').replace('-', '_')}"
        function = click.option(option, name, metavar="X", multiple=True, help=f"Only: {explanation}.")(
            function
        )
    return function


@click.command(context_settings={"show_default": True})
@filter_options
@click.option("--last", type=click.IntRange(0), metavar="N", help="Begin with the last N flows that fit.")
@click.option(
    "--since", metavar="TIME", help="Begin with flows since TIME: 30s, 5m, 2h, or 2026-01-31T12:00:00Z."
)
@click.option(
    "--follow/--no-follow",
    default=True,
    help="Go on until interrupted, or end with the flows that are there.",
)
@click.option(
    "--chatter",
    is_flag=True,
    help="Also what interfaces say on their own when they start: router solicitations, MLD.",
)
@click.option("-o", "--output", type=click.Choice(["json"]), help="Print the flows as JSON, one a line.")
@click.pass_obj
def command(
    places: Places,
    /,
    last: int | None,
    since: str | None,
    follow: bool,
    chatter: bool,
    output: str | None,
    **filters: tuple[str, ...],
) -> int:
    """Flows as they happen, one line each.

    Shown are dropped packets, and the first packet of each flow that was let through: the time, the verdict,
    the direction as the judging container sees it, both sides with their labels, the protocol, and the reason
    of a drop. Of options of one kind any must hold, of different ones all. What interfaces say on their own is
    left out (see --chatter).

    \b
    ciliate monitor --verdict dropped --to web
    ciliate monitor --last 20 --no-follow
    ciliate monitor --from app=client --to-port 80 -o json
    """
    query: dict[str, str | int | Sequence[str]] = {
        name.removeprefix("filter_").replace("_", "-"): texts for name, texts in filters.items() if texts
    }
    query["follow"] = str(follow).lower()
    if not chatter and "reason" not in query:
        query["chatter"] = "false"
    if last is not None:
        query["last"] = last
    if since is not None:
        query["since"] = since
    shown = False
    for raw in places.observer().lines("flows", query):
        click.echo(raw.decode().rstrip("\n") if output else line(json.loads(raw)))
        shown = True
    if follow:
        click.echo("ciliate-observe has ended; it starts again by itself, and so may you", err=True)
        return 1
    if not shown:
        click.echo("no such flows", err=True)
    return 0
