"""Every command, option and argument explains itself."""

from __future__ import annotations

import re

import click
import pytest

from cli.reference import every_command, options
from tests.unit.cli.conftest import Ciliate

TREE = [(context.command_path, command) for command, context in every_command()]

EXPECTED = """
ciliate
ciliate status
ciliate endpoint
ciliate endpoint config
ciliate endpoint get
ciliate endpoint health
ciliate endpoint labels
ciliate endpoint list
ciliate endpoint log
ciliate identity
ciliate identity get
ciliate identity list
ciliate ip
ciliate ip list
ciliate node
ciliate node list
ciliate policy
ciliate policy apply
ciliate policy check
ciliate policy delete
ciliate policy get
ciliate policy import
ciliate policy selectors
ciliate policy sets
ciliate policy trace
ciliate policy validate
ciliate policy verify
ciliate policy wait
ciliate monitor
ciliate bpf
ciliate bpf ct
ciliate bpf ct list
ciliate bpf endpoint
ciliate bpf endpoint list
ciliate bpf ipcache
ciliate bpf ipcache list
ciliate bpf metrics
ciliate bpf metrics list
ciliate bpf policy
ciliate bpf policy list
ciliate map
ciliate map get
ciliate map list
ciliate metrics
ciliate metrics list
ciliate store
ciliate store backup
ciliate store migrate
ciliate store restore
ciliate config
ciliate version
ciliate cleanup
ciliate completion
"""


def test_the_tree() -> None:
    assert [path for path, _ in TREE] == EXPECTED.split("\n")[1:-1]


@pytest.mark.parametrize(("path", "command"), TREE)
def test_help_is_complete(ciliate: Ciliate, path: str, command: click.Command) -> None:
    ran = ciliate(*path.split()[1:], "--help")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: {path} ")

    assert command.help and re.match(r"[A-Z`]", command.help), "a command begins with a sentence"
    first = command.help.strip().split("\n\n")[0]
    assert first.rstrip().endswith((".", ":")), "which ends like one"
    for option in options(command):
        assert option.help and option.help.endswith("."), f"{option.opts} has no help"
        assert option.opts[-1] in ran.out
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and not isinstance(parameter.type, click.Choice):
            name = parameter.make_metavar(click.Context(command)).strip("[].")
            assert set(re.split(r"\W+", name)) & set(re.split(r"\W+", _with_parents(path))), (
                f"{name} is explained nowhere"
            )


def _with_parents(path: str) -> str:
    """The help of a command and of the groups it is in."""
    return " ".join(
        command.help or "" for each, command in TREE if path == each or path.startswith(f"{each} ")
    )


@pytest.mark.parametrize(("path", "command"), TREE)
def test_first_sentences_fit_into_the_list_of_commands(path: str, command: click.Command) -> None:
    assert not command.get_short_help_str(limit=60).endswith("...")


def test_lists_have_all_three_forms() -> None:
    for path, command in TREE:
        if path.endswith((" list", " get", " status", " config")):
            (output,) = [option for option in options(command) if "--output" in option.opts]
            assert isinstance(output.type, click.Choice) and set(output.type.choices) == {"json", "yaml"}
