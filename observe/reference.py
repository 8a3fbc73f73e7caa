"""`python -m observe.reference`: writes docs/reference/flows.md from the tables of filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from observe.filters import FLOW_FIELDS, PEER_FIELDS, SIDES, parameter

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "flows.md"

TEXT = """# Flows

Made from the tables of `observe/filters.py` by `make docs`.

`ciliate-observe` serves them at `/run/ciliate/observe.sock` (root and the group `ciliate`), one JSON object on each
line:

```
curl -N --unix-socket /run/ciliate/observe.sock 'http://ciliate/v1/flows?follow=true&verdict=dropped&to=web'
```

A flow is a dropped packet, or the first packet of a flow that was let through.

| field | meaning |
|---|---|
| `time` | RFC 3339, UTC |
| `verdict` | `FORWARDED`, `DROPPED`, or `AUDIT`: policy denies it, and it passed |
| `reason`, `reason_text` | why it was dropped, as a name and in words; `NONE` if it was not |
| `direction` | `EGRESS` or `INGRESS`, as the container whose program judged sees it |
| `type` | `drop` or `policy-verdict` |
| `is_reply` | from the side that did not open the flow |
| `source`, `destination` | `ip`, `port`, `identity` (a number), `labels`, `name` (of the container, or empty) |
| `protocol`, `tcp_flags`, `icmp_type` | `icmp_type` is null for others than ICMP |
| `length` | of the packet, in bytes |
| `endpoint` | number of the endpoint whose program judged; 0 if it is not known |

An object `{{"time", "lost", "where"}}` says that so many flows are missing here: `datapath`, because there were more
than are read (10,000 a second), or `reader`, because this reader was too slow. Neither ever slows a packet.

## Which flows

`last=N` begins with the last N that fit, `since=` and `until=` take an age (`30s`, `5m`, `2h`) or a time,
`follow=true` stays. Without any, all that are kept (the last 4096).

Filters may be repeated: of one kind any must hold, of different ones all.

| filter | value |
|---|---|
{rows}
"""


def _rows() -> Iterator[str]:
    for name, flow_field in FLOW_FIELDS.items():
        yield f"| `{name}` | {flow_field.help} |"
    for name, peer_field in PEER_FIELDS.items():
        names = ", ".join(f"`{parameter(side, name)}`" for side in SIDES)
        yield f"| {names} | {peer_field.help}: of either side, of the source, of the destination |"


def reference() -> str:
    return TEXT.format(rows="\n".join(_rows()))


def main() -> None:
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference())


if __name__ == "__main__":
    main()
