"""`ciliate policy apply`: a folder of rules, brought into force as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.client import Places, Query, Service
from cli.output import output_option, print_table, print_warning, show
from cli.sources import wait_option, with_file
from cli.words import BAD, GOOD, WAITING, Cell
from model.errors import CiliateError

if TYPE_CHECKING:
    from cli.documents import Rules

Done = dict[str, Any]
"""`name`, `rules` (how many), `result`, `audit`, `revision` and `warnings` of a set."""

COLUMNS = ("SET", "RULES", "RESULT")

STYLES = {"created": GOOD, "changed": WAITING, "unchanged": "", "pruned": BAD}


@click.command()
@click.option("-f", "--file", "source", metavar="FILE|DIR", required=True, help="Where the sets are.")
@click.option("--prune", is_flag=True, help="Delete the sets that this DIR once made and no longer has.")
@click.option(
    "--audit", is_flag=True, help="They drop nothing: what they would deny passes, and is told as AUDIT."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--origin",
    metavar="TEXT",
    help="Who keeps these sets; by default the path of the directory. For directories that move.",
)
@wait_option
@output_option
@click.pass_obj
def apply(
    places: Places,
    source: str,
    prune: bool,
    audit: bool,
    dry_run: bool,
    origin: str | None,
    wait: float,
    output: str | None,
) -> None:
    """Make named sets of rules be what files say.

    Each FILE is a set, named like the file without its suffix; of a DIR, each *.json, *.yaml and *.yml. A set is
    replaced as a whole, may hold any number of rules, and is left alone where nothing has changed. All files are
    checked before any set is touched.

    A set remembers its origin, the directory of its file. --prune deletes the sets of this origin that have no file
    any more, after all others are in place, and no other sets; and apply refuses to replace a set of another origin.

    With --audit the sets only report what they would deny if they were in force beside all other rules; whoever is
    denied by these stays so. The same command without --audit brings them into force.

    \b
    ciliate policy apply -f /etc/ciliate/policies --prune --wait 5
    ciliate policy apply -f web.yaml --dry-run
    ciliate policy apply -f web.yaml --audit
    """

    path = Path(source)
    if source == "-":
        raise click.UsageError("a set is named after its file: name a FILE or a DIR")
    if prune and not path.is_dir():
        raise click.UsageError("--prune needs the DIR whose sets are all there should be")
    keeper = str((path if path.is_dir() else path.parent).resolve()) if origin is None else origin
    sets = _sets(source)
    agent = places.agent(timeout=60.0)
    plan = [_put(agent, each, keeper, audit=audit, dry_run=True) for each in sets]
    doomed = _doomed(agent, keeper, {each.name for each in sets}) if prune else []
    done = [*plan, *doomed] if dry_run else _carry_out(agent, sets, plan, doomed, keeper, audit=audit)
    if wait and not dry_run:
        revision = max((each["revision"] for each in done), default=0)
        places.agent(wait + 10).get("policy", {"revision": revision, "wait": wait})

    def readable() -> None:
        print_table(COLUMNS, map(_row, done), empty="no sets")
        for each in done:
            for warning in each["warnings"]:
                print_warning(**warning, err=True)

    show(output, done, readable)


@dataclass(frozen=True, slots=True)
class _Set:
    name: str
    file: str
    rules: Rules


def _sets(source: str) -> list[_Set]:
    from cli.documents import read_files

    found: dict[str, _Set] = {}
    for file, rules in read_files(source).items():
        name = Path(file).stem
        if name in found:
            raise click.UsageError(f"{found[name].file} and {file} would both be the set {name}")
        found[name] = _Set(name, file, rules)
    return list(found.values())


def _put(agent: Service, each: _Set, origin: str, *, audit: bool, dry_run: bool) -> Done:
    query: Query = {
        "origin": origin,
        "audit": "true" if audit else "false",
        "dry-run": "true" if dry_run else "false",
    }

    def locate(path: str) -> str:
        return each.file if path == "name" else each.rules.locate(path)

    answer = with_file(lambda: agent.put(f"policy/name/{each.name}", each.rules.rules, query), locate)
    return {
        "name": each.name,
        "rules": len(answer["policy"]),
        "result": answer["result"],
        "audit": answer["audit"],
        "revision": answer["revision"],
        "warnings": answer["warnings"],
    }


def _doomed(agent: Service, origin: str, names: set[str]) -> list[Done]:
    return [
        {
            "name": found["name"],
            "rules": found["rules"],
            "result": "pruned",
            "audit": found["audit"],
            "revision": found["revision"],
            "warnings": [],
        }
        for found in agent.get("policy/name")
        if found["origin"] == origin and found["name"] not in names
    ]


def _carry_out(
    agent: Service, sets: list[_Set], plan: list[Done], doomed: list[Done], origin: str, *, audit: bool
) -> list[Done]:
    """What is deleted is so only when everything else is in place: no moment has fewer rules than before and after."""
    done: list[Done] = []
    try:
        for each, planned in zip(sets, plan, strict=True):
            is_same = planned["result"] == "unchanged"
            done.append(planned if is_same else _put(agent, each, origin, audit=audit, dry_run=False))
        for gone in doomed:
            revision = agent.delete(f"policy/name/{gone['name']}")["revision"]
            done.append({**gone, "revision": revision})
    except CiliateError as error:
        names = ", ".join(each["name"] for each in done if each["result"] != "unchanged")
        if names:
            error.hint = f"{error.hint}; done before: {names}".removeprefix("; ")
        raise
    return done


def _row(done: Done) -> tuple[str | int | Cell, ...]:
    result = done["result"]
    said = f"{result}, audited" if done["audit"] and result != "pruned" else result
    return done["name"], done["rules"], Cell(said, STYLES[result])
