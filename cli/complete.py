"""What the shell offers after TAB that only the agent knows. Silent when it does not answer quickly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from cli.client import Places
from model.errors import CiliateError

PATIENCE = 0.3
"""Seconds."""


def _answers(
    context: click.Context,
    path: str,
    item: Callable[[Any], tuple[str, str]],
    begun: str,
    wanted: Callable[[Any], bool] = lambda _answer: True,
) -> list[CompletionItem]:
    """The items of a list of the agent's, as (word, explanation), that begin with `begun`."""
    top = context.find_root().params
    places = Places(Path(top.get("run_dir") or "/run/ciliate"), top.get("api"))
    try:
        answers: Iterable[Any] = places.agent(PATIENCE).get(path)
        words = [item(answer) for answer in answers if wanted(answer)]
    except (CiliateError, LookupError, TypeError):
        return []
    return [CompletionItem(word, help=explanation) for word, explanation in words if word.startswith(begun)]


def endpoint_ids(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Numbers, explained by containers' names; or names, once a name has begun."""
    if begun and not begun.isdecimal():
        return _answers(
            context, "endpoint", lambda each: (each["container_name"], f"endpoint {each['id']}"), begun
        )
    return _answers(context, "endpoint", lambda each: (str(each["id"]), each["container_name"]), begun)


def identity_numbers(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    return _answers(
        context, "identity", lambda identity: (str(identity["id"]), " ".join(identity["labels"])), begun
    )


def map_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Those whose entries can be read."""
    return _answers(
        context,
        "map",
        lambda kernel_map: (kernel_map["name"], kernel_map["type"]),
        begun,
        wanted=lambda kernel_map: bool(kernel_map["readable"]),
    )
