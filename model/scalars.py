"""What a plain word in YAML is, besides text. PURE.

YAML 1.1 also takes dates, octals (`010`) and numbers of base 60 (`12:30`) for what they look like, YAML 1.2 does not.
What two readers take for two things is a text here, save the truth values. The agent and the command read by this
table."""

from __future__ import annotations

CORE = "tag:yaml.org,2002:"

KINDS = frozenset(f"{CORE}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge"))
"""All that a document may hold, by its tag: what JSON has, and merging."""

SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "tTfFyYnNoO"),
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
    ("merge", r"<<", "<"),
)
"""Kind, pattern of the whole word, and the characters it may begin with."""
