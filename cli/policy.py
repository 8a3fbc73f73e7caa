"""`ciliate policy`: rules in, rules out."""

from __future__ import annotations

from typing import Any

import click

from cli import questions, verify, words
from cli import rules as wording
from cli.apply import apply
from cli.client import Places, Query, Service
from cli.output import output_option, print_table, print_warning, show
from cli.sources import source_argument, wait_option, with_file

COLUMNS = ("#", "SELECTS", "LABELS", "SAYS")


@click.group()
def command() -> None:
    """Rules: who may talk to whom.

    A direction of an endpoint that any rule selects denies what no rule allows; a deny rule wins over every
    allow.
    """


def _rows(rules: list[dict[str, Any]], audited: list[int]) -> list[tuple[str | int, ...]]:
    """A line for each thing that a rule says."""
    rows: list[tuple[str | int, ...]] = []
    for number, rule in enumerate(rules):
        said = [
            f"{'audited: ' if number in audited else ''}{direction} {line}"
            for direction in ("ingress", "egress")
            for line in wording.direction(rule, direction)
        ]
        head: tuple[str | int, ...] = (number, wording.subject(rule), wording.labels(rule) or "-")
        for line in said or ["nothing"]:
            rows.append((*head, line))
            head = ("", "", "")
    return rows


def _tell(output: str | None, answer: Any, count: int, what: str) -> None:
    """`2 rules imported, revision 7`"""
    sentence = f"{count} {'rule' if count == 1 else 'rules'} {what}"

    def readable() -> None:
        click.echo(sentence)
        for each in answer.get("warnings", ()):
            print_warning(**each, err=True)

    show(output, answer, readable)


@command.command("import")
@source_argument
@click.option(
    "--replace-with-labels",
    metavar="LABEL",
    multiple=True,
    help="First remove the rules that have all of these labels, in the same instant; repeat it for several.",
)
@wait_option
@output_option
@click.pass_obj
def import_(
    places: Places, source: str, replace_with_labels: tuple[str, ...], wait: float, output: str | None
) -> None:
    """Add rules: all of them or none.

    From a FILE, from all files of a DIR, or from stdin (-). Files are JSON or YAML: a rule, a list of rules,
    several YAML documents, or CiliumNetworkPolicy objects without a namespace.

    \b
    ciliate policy import web.yaml --replace-with-labels name=web --wait 5
    """
    from cli.documents import read

    given = read(source)
    query: Query = {"replace-with-labels": replace_with_labels, "wait": wait}
    answer = with_file(
        lambda: places.agent().put("policy", given.rules, query, wait=wait),
        given.locate,
    )
    _tell(output, answer, len(answer["policy"]), f"imported, revision {answer['revision']}")


@command.command()
@source_argument
@output_option
@click.pass_obj
def validate(places: Places, source: str, output: str | None) -> None:
    """Check rules without importing them.

    The agent says what it would say to `ciliate policy import` of this FILE or DIR.
    """
    from cli.documents import read

    given = read(source)
    answer = with_file(
        lambda: places.agent().put("policy", given.rules, {"dry-run": "true"}),
        given.locate,
    )
    _tell(output, answer, len(answer["policy"]), "valid")


@command.command()
@click.option(
    "--labels", "wanted", metavar="LABEL", multiple=True, help="Only rules with all of these labels."
)
@click.option("--name", metavar="NAME", help="Only those of the set with this name.")
@output_option
@click.pass_obj
def get(places: Places, wanted: tuple[str, ...], name: str | None, output: str | None) -> None:
    """The rules in force, in words.

    Those of audited sets, which only report, stand among them and say so.

    With -o json or -o yaml they are printed so that they can be imported again.
    """
    if name and wanted:
        raise click.UsageError("--name and --labels exclude each other")
    path = f"policy/name/{name}" if name else "policy"
    answer = places.agent().get(path, {"labels": list(wanted)} if wanted else None)

    def readable() -> None:
        print_table(COLUMNS, _rows(answer["policy"], answer["audited"]), empty="no rules")
        click.echo(f"revision {answer['revision']}", err=True)

    show(output, answer if output is None else answer["policy"], readable)


@command.command()
@click.argument("labels", metavar="[LABEL]...", nargs=-1)
@click.option("--name", metavar="NAME", help="Delete the set with this name.")
@click.option("--all", "everything", is_flag=True, help="Delete every rule, those of named sets too.")
@wait_option
@output_option
@click.pass_obj
def delete(
    places: Places,
    labels: tuple[str, ...],
    name: str | None,
    everything: bool,
    wait: float,
    output: str | None,
) -> None:
    """Delete rules by their labels, or a named set.

    Those go that have every LABEL given. Flows that only they allowed end at once. Rules of named sets are deleted
    with their set only, or with --all.
    """
    if (bool(labels), bool(name), everything).count(True) != 1:
        raise click.UsageError("give the labels of the rules to delete, or --name, or --all")
    agent = places.agent()
    if everything:
        _delete_all(agent, wait, output)
        return
    path, query = ("policy", {"labels": labels}) if name is None else (f"policy/name/{name}", {})
    answer = agent.delete(path, {**query, "wait": wait}, wait=wait)
    _tell(output, answer, answer["deleted"], f"deleted, revision {answer['revision']}")


def _delete_all(agent: Service, wait: float, output: str | None) -> None:
    """One after the other; whoever waits does so for the last. May be repeated."""
    sets = [found["name"] for found in agent.get("policy/name")]
    answer: dict[str, Any] = {"revision": 0, "deleted": 0, "sets": sets}
    paths = ["policy", *(f"policy/name/{name}" for name in sets)]
    for path in paths:
        seconds = wait if path is paths[-1] else 0.0
        gone = agent.delete(path, {"wait": seconds}, wait=seconds)
        answer["revision"] = gone["revision"]
        answer["deleted"] += gone["deleted"]
    these = f", with the sets {', '.join(sets)}" if sets else ""
    _tell(output, answer, answer["deleted"], f"deleted{these}, revision {answer['revision']}")


@command.command()
@output_option
@click.pass_obj
def sets(places: Places, output: str | None) -> None:
    """The named sets of rules, and who keeps them.

    An audited set only reports: what it would deny passes.

    ORIGIN is what `ciliate policy apply` says: the directory of their files.
    """
    found = places.agent().get("policy/name")
    show(
        output,
        found,
        lambda: print_table(
            ("SET", "RULES", "AUDIT", "REVISION", "ORIGIN"),
            (
                (
                    each["name"],
                    each["rules"],
                    words.yes(each["audit"]),
                    each["revision"],
                    each["origin"] or "-",
                )
                for each in found
            ),
            empty="no named sets",
        ),
    )


@command.command()
@click.argument("revision", type=click.IntRange(0))
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, 300),
    default=60.0,
    show_default=True,
    help="Fail after so many seconds.",
)
@click.pass_obj
def wait(places: Places, revision: int, timeout: float) -> None:
    """Wait until policy REVISION is in force on this host.

    Import and delete print the revision that they made.
    """
    answer = places.agent(timeout + 10).get("policy", {"revision": revision, "wait": timeout})
    click.echo(f"revision {answer['revision']} is in force")


for other in (apply, questions.trace, questions.check, questions.selectors, verify.verify):
    command.add_command(other)
