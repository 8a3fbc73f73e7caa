"""Names of DNS in questions to the agent, looked up by this host: containers come first, and the agent knows those."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from typing import Any

import click

from model.errors import NotFound

_NAME = re.compile(r"(?=.*\.)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
"""What may be one: it has a dot."""


def with_names(query: Mapping[str, str], ask: Callable[[dict[str, str]], Any]) -> Any:
    """The answer to `query`; where the agent knows nobody of a name in it (the error's path says which parameter), to
    the same about its first address."""
    asked = dict(query)
    while True:
        try:
            return ask(asked)
        except NotFound as error:
            name = asked.get(error.path, "")
            if not _NAME.fullmatch(name):
                raise
            addresses = _look_up(name)
            if not addresses or name != query[error.path]:
                raise
            asked[error.path] = addresses[0]
            others = f"; it has others too: {', '.join(addresses[1:4])}" if addresses[1:] else ""
            click.echo(f"{name} is {addresses[0]} by this host's DNS{others}", err=True)


def _look_up(name: str) -> list[str]:
    """IPv4 first: it is what a container has without IPv6."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = dict.fromkeys((family != socket.AF_INET, str(address[0])) for family, *_, address in found)
    return [address for _, address in sorted(addresses, key=lambda each: each[0])]
