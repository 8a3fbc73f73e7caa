"""`python -m cli.reference`: writes docs/reference/cli.md from the command tree itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from cli.main import root

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"

HEAD = """# The command `ciliate`

Made from the command itself by `make docs`; changes belong into `cli/`.

Exit status: 0 success, 1 failure, 2 usage. Errors are one line on stderr, then a line `hint: ...` where something
can be done. Lists are tables; `-o json` and `-o yaml` print what the API answers.
"""


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """The command itself and all below it, in the order of --help."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from commands(child, click.Context(child, info_name=name, parent=context))


def every_command() -> Iterator[tuple[click.Command, click.Context]]:
    yield from commands(root, click.Context(root, info_name="ciliate"))


def _explanation(command: click.Command) -> str:
    """Blocks that click must not wrap (marked \\b) become code."""
    parts = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        if block.startswith("\b"):
            parts.append("```\n" + block.removeprefix("\b").strip("\n") + "\n```")
        else:
            parts.append(" ".join(block.split()))
    return "\n\n".join(parts)


def options(command: click.Command) -> list[click.Option]:
    """Those of the command's own, without --help."""
    return [option for option in command.params if isinstance(option, click.Option) and not option.hidden]


def _row(option: click.Option, context: click.Context) -> str:
    names, explanation = option.get_help_record(context) or ("", "")
    cells = (f"`{names}`", " ".join(explanation.split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def section(command: click.Command, context: click.Context) -> str:
    depth = context.command_path.count(" ")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"{'#' * (depth + 2)} `{context.command_path}`", "", f"`{usage}`", "", _explanation(command)]
    rows = [_row(option, context) for option in options(command)]
    if rows:
        lines += ["", "| option | meaning |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def reference() -> str:
    return "\n".join([HEAD, *(section(command, context) for command, context in every_command())])


def main() -> None:
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference())


if __name__ == "__main__":
    main()
