"""`ciliate status`: everything on one screen, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from cli import words
from cli.advice import Trouble, troubles
from cli.client import Places, Service
from cli.output import output_option, print_facts, print_warning, show
from cli.words import Cell
from model.errors import CiliateError

Health = Mapping[str, Any]

SHOWN_POOLS = 6
"""Without --verbose; the fullest ones."""


def observer_health(places: Places) -> Health | None:
    try:
        answer: Health = places.observer(timeout=2.0).get("healthz")
    except CiliateError:
        return None
    return answer


def known_maps(agent: Service) -> Sequence[Health]:
    """None while the datapath is not loaded: that is the agent's trouble to tell, and it is told."""
    try:
        answer: Sequence[Health] = agent.get("map")
    except CiliateError:
        return ()
    return answer


def _agent(health: Health) -> Cell:
    text = f"{health['status']}, version {health['version']}, up {words.duration(health['uptime'])}"
    return Cell(text, words.state(health["status"]).style)


def _part(part: Health) -> Cell:
    text = " ".join(part[name] for name in ("state", "version", "detail") if part.get(name))
    return Cell(text, words.state(part["state"]).style)


def _nodes(counts: Mapping[str, int]) -> Cell:
    away = counts.get("left", 0) + counts.get("gone", 0)
    text = f"{counts.get('here', 0)} nodes here" + (f", {away} left" if away else "")
    return Cell(text, words.WAITING if away else words.GOOD)


def _endpoints(counts: Health) -> Cell:
    others = counts["total"] - counts["ready"] - counts["waiting"]
    parts = [f"{counts['ready']} ready"]
    if counts["waiting"]:
        parts.append(f"{counts['waiting']} waiting for labels")
    if others:
        parts.append(f"{others} not running")
    return Cell(", ".join(parts), words.WAITING if counts["waiting"] else words.GOOD)


def _policy(health: Health) -> str:
    text = f"revision {health['policy_revision']}, enforcement {health['policy_enforcement']}"
    return f"{text}, audit mode" if health["policy_audit"] else text


def _datapath(datapath: Health) -> str:
    origin = "compiled at this start" if datapath["compiled"] else "from the compile cache"
    return f"{datapath['attach']}, ABI {datapath['abi']}, {origin}"


def _flows(observer: Health | None, datapath: Health) -> Cell:
    if observer is None:
        return Cell("not answering", words.BAD)
    lost = datapath["lost_events"]
    text = f"{observer['seen']} seen, {observer['kept']} kept, {lost} lost"
    return Cell(text, words.WAITING if lost else "")


def _pools(pools: Sequence[Health], verbose: bool) -> list[str]:
    ordered = sorted(pools, key=lambda pool: -pool["used"] / max(pool["size"], 1))
    shown = ordered if verbose else ordered[:SHOWN_POOLS]
    lines = [
        f"{pool['pool']} {words.share(pool['used'], pool['size'])} "
        f"({pool['used']} of {pool['size']}){' ' + pool['network'] if pool.get('network') else ''}"
        for pool in shown
    ]
    rest = len(pools) - len(shown)
    return [*lines, f"and {rest} more: --verbose"] if rest else lines


def _maps(maps: Sequence[Health]) -> str:
    """The fullest ones that hold anything."""
    counted = [each for each in maps if each["entries"]]
    counted.sort(key=lambda each: -each["entries"] / each["max_entries"])
    return ", ".join(
        f"{each['name']} {words.share(each['entries'], each['max_entries'])}" for each in counted[:5]
    )


def _children(children: Sequence[Health]) -> Cell:
    def one(child: Health) -> str:
        restarted = f", restarted {child['restarts']} times" if child["restarts"] else ""
        return f"{child['name']} {child['state']} (pid {child['pid']}{restarted})"

    well = all(child["state"] == "running" for child in children)
    return Cell(", ".join(map(one, children)), words.GOOD if well else words.BAD)


def print_status(health: Health, maps: Sequence[Health], observer: Health | None, verbose: bool) -> None:
    found = troubles(health, maps, observer)
    print_facts(
        (
            ("Agent", _agent(health)),
            ("Node", f"{health['node']}, cluster {health['cluster']}"),
            *([("Cluster", _nodes(health["nodes"]))] if health["nodes"] else []),
            ("Endpoints", _endpoints(health["endpoints"])),
            ("Policy", _policy(health)),
            ("Datapath", _datapath(health["datapath"])),
            ("Flows", _flows(observer, health["datapath"])),
            ("Docker", _part(health["docker"])),
            ("Store", _part(health["store"])),
            ("Uplinks", ", ".join(health["uplinks"]) or Cell("none", words.WAITING)),
            ("Masquerade", "on" if health["masquerade"] else "off"),
            ("Pools", _pools(health["ipam"], verbose) or "none"),
            ("Maps", _maps(maps) or "empty"),
            ("Processes", _children(health["children"])),
        )
    )
    if verbose:
        from cli.map import print_maps

        click.echo()
        print_maps(maps)
    print_troubles(found)


def print_troubles(found: Sequence[Trouble]) -> None:
    click.echo()
    if not found:
        click.echo("Nothing needs attention.")
        return
    for trouble in found:
        print_warning(trouble.kind, trouble.text, trouble.hint)


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="All pools and maps.")
@output_option
@click.pass_obj
def command(places: Places, verbose: bool, output: str | None) -> int:
    """How everything is, and what to do next.

    BYPASS warns of traffic that ciliate does not see. Exit status 1 if the agent does not answer or is
    degraded.
    """
    agent = places.agent()
    health, maps, observer = agent.get("healthz"), known_maps(agent), observer_health(places)
    data = {"agent": health, "maps": maps, "observer": observer}
    show(output, data, lambda: print_status(health, maps, observer, verbose))
    return 0 if health["status"] == "ok" else 1
