"""The command `ciliate`: its tree, and how it ends.

Exit status: 0 success, 1 failure, 2 usage. An error is one line on stderr, then a hint where there is one.
Commands live in a module each, which is imported when its command is wanted: a command starts in the time
that it needs itself."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import click

from model.errors import CiliateError

COMMANDS = {
    "status": "cli.status",
    "endpoint": "cli.endpoint",
    "identity": "cli.identity",
    "ip": "cli.ip",
    "node": "cli.node",
    "policy": "cli.policy",
    "monitor": "cli.monitor",
    "bpf": "cli.bpf",
    "map": "cli.map",
    "metrics": "cli.metrics",
    "store": "cli.store",
    "config": "cli.config",
    "version": "cli.version",
    "cleanup": "cli.cleanup",
    "completion": "cli.completion",
}
"""Command -> the module whose `command` it is, in the order of --help."""


class LazyGroup(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[name]).command
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's own groups do for the commands they hold, it names the nearest one."""
        word = arguments[0]
        near = [] if word in COMMANDS else get_close_matches(word, COMMANDS, n=1)
        if near:
            context.fail(f"No such command {word!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(context, arguments)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `ciliate status`; each command explains itself with --help.",
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    envvar="CILIATE_RUN_DIR",
    default=Path("/run/ciliate"),
    show_default=True,
    show_envvar=True,
    help="Directory of the agent's sockets.",
)
@click.option(
    "--api",
    type=click.Path(path_type=Path),
    help="The API's socket itself, in place of api.sock (or, for reads, api-ro.sock) in the run directory.",
)
@click.option(
    "--token",
    envvar="CONSUL_HTTP_TOKEN",
    default="",
    show_envvar=True,
    help="Token for Consul, with which rules are written; the node's own without it.",
)
@click.pass_context
def root(context: click.Context, run_dir: Path, api: Path | None, token: str) -> None:
    """Container networking by identity, not by address."""
    from cli.client import Places

    context.obj = Places(run_dir, api, token)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line; returns the exit status."""
    try:
        result = root.main(arguments, prog_name="ciliate", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "ciliate"
        _complain(error.format_message(), f"see `{place} --help`")
        return 2
    except click.ClickException as error:
        _complain(error.format_message(), "")
        return 1
    except CiliateError as error:
        _complain(f"{error.path}: {error.message}" if error.path else error.message, error.hint)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def _complain(message: str, hint: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {_one_line(message)}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {_one_line(hint)}", err=True)


def _one_line(text: str) -> str:
    from cli.output import printable

    return printable(" ".join(text.split()))


def main() -> None:
    # Handled by Python, an interrupt that comes just before a wait would be noticed only after it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run())


if __name__ == "__main__":
    main()
