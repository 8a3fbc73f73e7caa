"""`ciliate endpoint`: the containers' places in networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli import words
from cli.client import Places
from cli.complete import endpoint_ids
from cli.output import output_option, print_facts, print_lines, print_table, show
from cli.words import Cell

Endpoint = Mapping[str, Any]

COLUMNS = ("ID", "CONTAINER", "NETWORK", "IPV4", "IPV6", "IDENTITY", "STATE", "ENFORCED", "LABELS")

endpoint_argument = click.argument("endpoint", metavar="ENDPOINT", shell_complete=endpoint_ids)


@click.group()
def command() -> None:
    """Endpoints: containers in networks.

    ENDPOINT is a number of `ciliate endpoint list` or a container's name; or container-id:ID,
    docker-endpoint:ID, ipv4:ADDRESS, ipv6:ADDRESS; or container-name:NAME where the name is a number.
    """


def enforced(endpoint: Endpoint) -> str:
    """In which directions policy denies what no rule allows."""
    enforcement = endpoint["enforcement"]
    directions = [direction for direction in ("ingress", "egress") if enforcement[direction]]
    where = {0: "no", 1: "".join(directions), 2: "both"}[len(directions)]
    return f"{where}, audit" if enforcement["audit"] and directions else where


def _row(endpoint: Endpoint) -> tuple[str | int | Cell, ...]:
    return (
        endpoint["id"],
        endpoint["container_name"] or endpoint["container_id"][:12] or "-",
        endpoint["network_name"] or endpoint["network_id"][:12],
        endpoint["ipv4"] or "-",
        endpoint["ipv6"] or "-",
        words.identity(endpoint["identity"]),
        words.state(endpoint["state"]),
        enforced(endpoint),
        words.labels(endpoint["labels"]),
    )


@command.command("list")
@output_option
@click.pass_obj
def list_(places: Places, output: str | None) -> None:
    """All endpoints of this host.

    ENFORCED says in which directions policy denies what no rule allows: no, ingress, egress or both. With audit it
    is told, and passes.
    """
    endpoints = places.agent().get("endpoint")
    show(
        output,
        endpoints,
        lambda: print_table(
            COLUMNS,
            map(_row, endpoints),
            empty="no endpoints: no container runs on a ciliate network",
        ),
    )


def published(port: Mapping[str, Any]) -> str:
    host = f"[{port['host_ip']}]" if ":" in port["host_ip"] else port["host_ip"]
    return f"{host}:{port['host_port']} -> {port['port']}/{port['protocol']}"


@command.command()
@endpoint_argument
@click.option("--policy", is_flag=True, help="What the rules in force mean for it.")
@output_option
@click.pass_obj
def get(places: Places, endpoint: str, policy: bool, output: str | None) -> None:
    """One endpoint, in full."""
    if policy:
        from cli.trace import policy_lines

        resolved = places.agent().get(f"endpoint/{endpoint}/policy")
        show(output, resolved, lambda: print_lines(policy_lines(resolved)))
        return
    found = places.agent().get(f"endpoint/{endpoint}")
    show(
        output,
        found,
        lambda: print_facts(
            (
                ("Endpoint", found["id"]),
                ("State", words.state(found["state"])),
                ("Container", f"{found['container_name'] or '-'} ({found['container_id'][:12] or '-'})"),
                ("Network", f"{found['network_name'] or '-'} ({found['network_id'][:12]})"),
                ("Addresses", [address for address in (found["ipv4"], found["ipv6"]) if address]),
                ("MAC", found["mac"]),
                ("Interface", f"{found['ifname'] or '-'} (index {found['ifindex']})"),
                ("Identity", words.identity(found["identity"])),
                ("Enforced", enforced(found)),
                ("Labels", found["labels"]),
                ("Shown only", found["info_labels"]),
                ("Tags", found["tags"]),
                ("Published", [published(port) for port in found["ports"]]),
                ("Docker's id", found["docker_id"]),
            )
        ),
    )


@command.command()
@endpoint_argument
@click.option(
    "--set", "labels", metavar="LABEL", multiple=True, help="Replace all labels; repeat it for several."
)
@click.option("--reset", is_flag=True, help="Go back to the labels of the container itself.")
@output_option
@click.pass_obj
def labels(places: Places, endpoint: str, labels: tuple[str, ...], reset: bool, output: str | None) -> None:
    """Show the labels of an endpoint, or replace them.

    Labels decide the identity: with other labels the endpoint has another one at once, and other policy.
    LABEL is key=value or source:key=value.

    \b
    ciliate endpoint labels 12
    ciliate endpoint labels 12 --set app=web --set tier=front
    ciliate endpoint labels container-name:web --reset
    """
    if labels and reset:
        raise click.UsageError("--set and --reset exclude each other")
    path = f"endpoint/{endpoint}/labels"
    if labels or reset:
        found = places.agent().patch(path, {"labels": None if reset else list(labels)})
    else:
        found = places.agent().get(path)
    show(
        output,
        found,
        lambda: print_facts(
            (
                ("Identity", words.identity(found["identity"])),
                ("Labels", found["labels"]),
                ("Shown only", found["info_labels"]),
                ("Set by hand", words.yes(found["user_labels"] is not None)),
            )
        ),
    )


@command.command()
@endpoint_argument
@click.option(
    "--audit/--no-audit", default=None, help="Let pass what its policy denies, and tell it; or end that."
)
@output_option
@click.pass_obj
def config(places: Places, endpoint: str, audit: bool | None, output: str | None) -> None:
    """Show what is set for one endpoint, or set it.

    In audit mode policy drops nothing: what it denies has the verdict AUDIT in flows.

    \b
    ciliate endpoint config 12
    ciliate endpoint config 12 --audit
    ciliate monitor --verdict audit --endpoint 12
    """
    path = f"endpoint/{endpoint}/config"
    found = places.agent().get(path) if audit is None else places.agent().patch(path, {"audit": audit})
    for_all = found["audit_in_force"] and not found["audit"]
    audited = "yes, as all endpoints are" if for_all else words.yes(found["audit"])
    show(output, found, lambda: print_facts((("Audit", audited),)))


@command.command()
@endpoint_argument
@output_option
@click.pass_obj
def health(places: Places, endpoint: str, output: str | None) -> int:
    """Whether an endpoint is what it should be.

    Looked at are its link, its programs and its map entries. Exit status 1 if anything is wrong.
    """
    found = places.agent().get(f"endpoint/{endpoint}/healthz")
    facts = (("Status", words.state(found["status"])), ("Problems", found["problems"]))
    show(output, found, lambda: print_facts(facts))
    return 0 if found["status"] == "ok" else 1


@command.command()
@endpoint_argument
@output_option
@click.pass_obj
def log(places: Places, endpoint: str, output: str | None) -> None:
    """What happened to an endpoint, oldest first."""
    lines = places.agent().get(f"endpoint/{endpoint}/log")
    show(
        output,
        lines,
        lambda: print_table(
            ("TIME", "WHAT"), ((line["time"], line["text"]) for line in lines), empty="nothing has happened"
        ),
    )
