"""What the pages of the documentation show: commands with their output, files, rules. PURE.

How a page writes them:

    ```sh        commands to copy; a here-document or a line that ends with a backslash goes on below
    ```console   commands after `$ `, each with what it prints: `...` stands for anything, a digit for any number, and
                 what is printed besides is left out
    ```yaml      a file if its first line is `# NAME.yaml`, else rules
    ```text      a picture
    ```hcl       what another program reads
    `ciliate x`  inside a sentence: a command too, as with make, journalctl and scripts of packaging/

Where a page is about several hosts, a command begins with the host's letter: `a$ `.

A command with a comment that begins with `fails` or `times out` does not succeed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_SPOKEN = re.compile(r"(ciliate|make|systemctl|journalctl) \S|packaging/\S")
_COMMENT = re.compile(r"\s+# (.*)$", re.MULTILINE)
_PROMPT = re.compile(r"^([a-z]?)\$ ", re.MULTILINE)
_HERE = re.compile(r"<<'?(\w+)'?")


@dataclass(frozen=True, slots=True)
class Command:
    """`text` as a shell takes it; `comment` is the last one behind it; `output` the lines shown below; `host`
    the letter before it."""

    text: str
    comment: str = ""
    output: tuple[str, ...] = ()
    host: str = ""

    @property
    def fails(self) -> bool:
        return self.comment.startswith(("fails", "times out"))


@dataclass(frozen=True, slots=True)
class File:
    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Rules:
    content: str


Item = Command | File | Rules


def items(page: str) -> Iterator[Item]:
    """What a page shows, in its order; the commands inside sentences last. Raises ValueError for a block that is none
    of those above."""
    for kind, content in _FENCE.findall(page):
        if kind == "sh":
            yield from (_command(text) for text in _commands(content.splitlines()))
        elif kind == "console":
            yield from _session(content)
        elif kind == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", content)
            yield File(name[1], content) if name else Rules(content)
        elif kind not in ("text", "hcl"):
            raise ValueError(f"a block is called {kind!r}: {content.splitlines()[0]}")
    for span in _SPAN.findall(_FENCE.sub("", page)):
        text = " ".join(span.split())
        if _SPOKEN.match(text):
            yield Command(text)


def matches(shown: tuple[str, ...], printed: str) -> bool:
    """Are the lines shown there, in this order, others between them allowed?"""
    lines = iter(printed.splitlines())
    return all(any(_pattern(line).search(each) for each in lines) for line in shown)


def _pattern(line: str) -> re.Pattern[str]:
    parts = re.split(r"(\.\.\.|\d+|\s+)", line.strip())
    known = {"...": ".*", "": ""}
    return re.compile(
        "".join(
            known.get(part) or (r"\d+" if part.isdigit() else r"\s+" if part.isspace() else re.escape(part))
            for part in parts
            if part
        )
    )


def _session(content: str) -> Iterator[Command]:
    before, *parts = _PROMPT.split(content)
    if before:
        raise ValueError(f"a console begins without a command: {before.splitlines()[0]}")
    for host, part in zip(parts[::2], parts[1::2], strict=True):
        text, *output = part.splitlines()
        command = _command(text)
        shown = tuple(line for line in output if line.strip())
        yield Command(command.text, command.comment, shown, host)


def _commands(lines: list[str]) -> Iterator[str]:
    rest = iter(lines)
    for line in rest:
        if not line.strip() or line.startswith("#"):
            continue
        text = line
        while text.endswith("\\"):
            text += "\n" + next(rest)
        here = _HERE.search(text)
        while here and text.splitlines()[-1] != here[1]:
            text += "\n" + next(rest)
        yield text


def _command(text: str) -> Command:
    prompt = _PROMPT.match(text)
    host, text = (prompt[1], text[prompt.end() :]) if prompt else ("", text)
    if "\n" in text:
        return Command(text, host=host)
    comment = _COMMENT.search(text)
    return Command(_COMMENT.sub("", text).strip(), comment[1] if comment else "", host=host)
