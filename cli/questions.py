"""`ciliate policy trace` and its like: what the rules mean, told without changing anything."""

from __future__ import annotations

from typing import Any

import click

from cli import words
from cli.client import Places, Query
from cli.output import output_option, print_lines, print_table, print_warning, printable, show
from cli.sources import source_argument, with_file

MOST = 20
"""Identities that are listed of one selector; -o json has them all."""


@click.command()
@click.option("--src", "source", metavar="WHO", required=True, help="Who sends.")
@click.option("--dst", "destination", metavar="WHO", required=True, help="Who receives.")
@click.option(
    "--dport",
    metavar="PORT/PROTOCOL",
    required=True,
    help="80/tcp, 53/udp, 9/sctp; icmp or icmpv6 for a ping, 13/icmp for another type.",
)
@click.option("-v", "--verbose", is_flag=True, help="Every rule, also those that are about others, and why.")
@output_option
@click.pass_obj
def trace(
    places: Places, source: str, destination: str, dport: str, verbose: bool, output: str | None
) -> None:
    """Whether a packet may pass, and what decides.

    WHO is a container's name, an endpoint's number, an address, identity:NUMBER, host, world, unmanaged or init;
    or labels (role=web,compose:service=db): whoever has them, or would have just these. A name of DNS is
    looked up here, by this host. Nothing is sent.

    The first word is ALLOWED, DENIED or AUDIT (it is denied in audit mode, or by audited rules alone, and passes);
    each line that begins with `map` names the entry that decides. It is about the packet that opens a flow; answers
    pass. Exit status 0 whatever the answer: a script looks at the first word, or at .verdict with -o json.

    \b
    ciliate policy trace --src client --dst web --dport 80/tcp
    ciliate policy trace --src role=client --dst example.com --dport 443 -v
    ciliate policy trace --src host --dst 10.200.0.7 --dport icmp
    """
    from cli import resolve
    from cli.trace import lines

    query: dict[str, str] = {"src": source, "dst": destination, "dport": dport}
    answer = resolve.with_names(
        query,
        lambda asked: places.agent().get("policy/resolve", asked | ({"verbose": "true"} if verbose else {})),
    )
    show(output, answer, lambda: print_lines(lines(answer, verbose=verbose)))


@click.command()
@output_option
@click.pass_obj
def selectors(places: Places, output: str | None) -> None:
    """Whom the rules in force select as peers.

    USERS says how many identities of this host's endpoints have rules with this selector.
    """
    found = places.agent(timeout=30.0).get("policy/selectors")

    def row(selector: dict[str, Any]) -> tuple[str | int, ...]:
        shown = [words.identity(number) for number in selector["identities"]]
        more = f" and {len(shown) - MOST} more" if len(shown) > MOST else ""
        return selector["selector"], selector["users"], len(shown), (", ".join(shown[:MOST]) or "-") + more

    show(
        output,
        found,
        lambda: print_table(
            ("SELECTOR", "USERS", "SELECTS", "IDENTITIES"), map(row, found), empty="no rule selects peers"
        ),
    )


@click.command()
@source_argument
@click.option(
    "--replace-with-labels",
    metavar="LABEL",
    multiple=True,
    help="As if imported with this option; repeat it for several.",
)
@click.option("--name", metavar="NAME", default="", help="As if it were the named set of this name.")
@click.option("--audit", is_flag=True, help="With --name: as if that set were audited, and only reported.")
@click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How much of each list is shown.",
)
@output_option
@click.pass_obj
def check(
    places: Places,
    source: str,
    replace_with_labels: tuple[str, ...],
    name: str,
    audit: bool,
    limit: int,
    output: str | None,
) -> None:
    """What a draft of rules would change.

    Rules of a FILE, of all files of a DIR, or of stdin (-), as if they were imported now; nothing is stored. Told
    are the endpoints that would begin or cease to deny by default, and which labels would newly be denied or
    allowed what, where both ends are heard.

    \b
    ciliate policy check web.yaml --replace-with-labels name=web
    ciliate policy check policies/web.yaml --name web
    ciliate policy check policies/web.yaml --name web --audit
    """
    from cli import draft
    from cli.documents import read

    given = read(source)
    if audit and not name:
        raise click.UsageError("--audit is about a named set: say its --name")
    query: Query = {"replace-with-labels": replace_with_labels, "name": name, "limit": limit}
    if audit:
        query = {**query, "audit": "true"}
    answer = with_file(
        lambda: places.agent(timeout=60.0).post("policy/check", query, given.rules), given.locate
    )

    def readable() -> None:
        for line in draft.summary(answer):
            click.echo(printable(line))
        for each in answer["warnings"]:
            print_warning(**each)
        if answer["changes"]:
            click.echo()
            print_table(draft.COLUMNS, draft.rows(answer), empty="")
        for line in draft.rest(answer):
            click.echo(line)

    show(output, answer, readable)
