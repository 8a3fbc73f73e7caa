"""`python -m agent.reference`: writes docs/reference/settings.md, rest.md and policy.md from the settings' table, the
API's own description, and the table of the rule language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.api import description
from agent.app import LARGEST_BODY
from agent.settings import SETTINGS, Setting
from policy.language import LANGUAGE

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

Part = Mapping[str, Any]

SETTINGS_HEAD = """# Settings

Made from `agent/settings.py` by `make docs`.

The agent reads them from its environment; an installation keeps them in `/etc/ciliate/ciliate.env`. `ciliate config`
shows what is in force. What is empty counts as not set. The agent refuses to start with a wrong setting, with a name
that begins with `CILIATE_` and is none of these, or with one whose feature does not exist yet, and then lists every
problem at once.

| setting | default | meaning |
|---|---|---|
"""

LATER_HEAD = """
Known, and refused until their feature exists:

| setting | meaning | why not yet |
|---|---|---|
"""

REST_HEAD = f"""# REST API

Made from the API's own description by `make docs`; the agent serves that, in OpenAPI 3, at `/v1/openapi.json`.

It is JSON over HTTP on two unix sockets: `/run/ciliate/api.sock` for root, and `/run/ciliate/api-ro.sock` for reading,
for the group `ciliate`.

```
curl --unix-socket /run/ciliate/api.sock http://ciliate/v1/endpoint
```

An error has a fitting status and the body `{{"error", "path", "hint"}}`: what is wrong in one sentence, the field it is
about, and what to do; the last two may be empty. A parameter that does not exist is refused.

| status | meaning |
|---|---|
| 400 | the request is wrong |
| 403 | this socket only reads |
| 404, 405 | there is no such thing, or not by this method |
| 409 | it collides with what is there |
| 413 | the body is larger than {LARGEST_BODY >> 20} MiB |
| 501 | not built yet |
| 503 | something does not answer in time, or is busy: try again |
| 507 | something is full |
"""


POLICY_HEAD = """# The rule language

Made from `policy/language.py` by `make docs`. How rules work and how to write them is in
[the guide](../guide/policy.md).

The language is Cilium's (v1.9, and what came after). Every field is read strictly: an error names the field by its path
and says what to do, and a field that does not exist is one. `null` is the same as absent; empty is not. What is not
enforced yet is read as strictly, and then the whole rule is refused with the reason below: a rule is never enforced in
part.
"""


def policy_reference() -> str:
    parts = [POLICY_HEAD]
    for part in LANGUAGE:
        parts.append(
            f"\n## {part.name[0].upper()}{part.name[1:]}\n\n| field | meaning | state |\n|---|---|---|\n"
        )
        parts += [_row(f"`{field}`", meaning, state) for field, meaning, state in part.rows()]
    return "".join(parts)


def settings_reference() -> str:
    built = [_setting_row(setting) for setting in SETTINGS if not setting.unbuilt]
    later = [_row(f"`{each.name}`", each.help, each.unbuilt) for each in SETTINGS if each.unbuilt]
    return SETTINGS_HEAD + "".join(built) + LATER_HEAD + "".join(later)


def _setting_row(setting: Setting) -> str:
    return _row(f"`{setting.name}`", f"`{setting.default}`" if setting.default else "", setting.help)


def rest_reference() -> str:
    api = description()
    parts = [REST_HEAD]
    for tag in api["tags"]:
        parts.append(f"\n## {tag['description']}\n")
        for path, methods in api["paths"].items():
            parts += [
                _operation(method, path, operation, methods.get("parameters", []))
                for method, operation in methods.items()
                if method != "parameters" and tag["name"] in operation["tags"]
            ]
    parts.append("\n## Objects\n")
    parts += [
        _object(name, schema) for name, schema in api["components"]["schemas"].items() if _is_told(name)
    ]
    return "".join(parts)


def _is_told(name: str) -> bool:
    """PaginationMetadata comes with the library, and the error is told of at the top."""
    return name not in ("Error", "PaginationMetadata")


def _operation(method: str, path: str, operation: Part, shared: list[Part]) -> str:
    lines = [f"\n### `{method.upper()} {path}`\n", f"\n{operation['summary']}\n"]
    if "description" in operation:
        lines.append(f"\n{operation['description']}\n")
    parameters = [*shared, *operation.get("parameters", [])]
    if parameters:
        lines.append("\n| parameter | in | type | meaning |\n|---|---|---|---|\n")
        lines += [
            _row(f"`{each['name']}`", each["in"], _kind(each["schema"]), each.get("description", ""))
            for each in parameters
        ]
    body = operation.get("requestBody")
    if body:
        told = body.get("description") or _kind(body["content"]["application/json"]["schema"])
        lines.append(f"\nBody: {told}.\n")
    ((media, answer),) = operation["responses"]["200"]["content"].items()
    told = _kind(answer["schema"]) if media == "application/json" else f"`{media}`"
    lines.append(f"\nAnswers {told}.\n")
    return "".join(lines)


def _object(name: str, schema: Part) -> str:
    rows = [
        _row(f"`{field}`", _kind(each), each.get("description", ""))
        for field, each in schema["properties"].items()
    ]
    return f"\n### Object {name}\n\n| field | type | meaning |\n|---|---|---|\n" + "".join(rows)


def _kind(schema: Part) -> str:
    """`integer`, `list of string`, `integer, 0 to 300`, or a link to an object."""
    return ", ".join(_words(schema))


def _words(schema: Part) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield f"[{name}](#object-{name.lower()})"
    elif "enum" in schema:
        yield "one of " + " ".join(f"`{value}`" for value in schema["enum"])
    elif schema.get("type") == "array":
        yield f"list of {_kind(schema['items'])}"
    else:
        yield str(schema.get("type", "object"))
    if "minimum" in schema and "maximum" in schema:
        yield f"{schema['minimum']:g} to {schema['maximum']:g}"
    if schema.get("nullable"):
        yield "or null"


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"


PAGES = {"settings.md": settings_reference, "rest.md": rest_reference, "policy.md": policy_reference}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())


if __name__ == "__main__":
    main()
