"""What commands that take files of rules have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from model.errors import CiliateError

source_argument = click.argument("source", metavar="FILE|DIR|-")

wait_option = click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(0, 300),
    default=0.0,
    help="Return only when it is in force on this host; fail after so many seconds.",
)


def with_file(call: Callable[[], Any], locate: Callable[[str], str]) -> Any:
    """An error of the API's names a rule by number; the user knows it by file."""
    try:
        return call()
    except CiliateError as error:
        error.path = locate(error.path)
        raise
