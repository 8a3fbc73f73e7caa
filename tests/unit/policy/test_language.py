"""The table of all fields, held to what the schema takes and refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from policy.language import ENFORCED, LANGUAGE
from policy.unenforced import UNENFORCED
from tests.unit.policy.drawing import Document
from tests.unit.policy.writing import at, beyond_ports, egress, ingress, l7, refused

NOBODY_CALLS_A_FIELD_SO = "?"

Holder = Callable[[Document], Document]

WHERE: dict[str, list[Holder]] = {
    "a rule": [lambda part: ingress({}) | part],
    "an element of ingress or ingressDeny": [ingress],
    "an element of egress or egressDeny": [egress],
    "a selector": [
        lambda part: ingress({"fromEndpoints": [part]}),
        lambda part: ingress({"fromNodes": [part]}),
        lambda part: {"endpointSelector": part},
    ],
    "an element of fromCIDRSet or toCIDRSet": [lambda part: ingress({"fromCIDRSet": [part]})],
    "an element of toPorts": [lambda part: beyond_ports(**part)],
    "an element of ports": [lambda part: ingress(at(**part))],
    "an element of icmps": [lambda part: ingress({"icmps": [part]})],
    "an element of fields": [lambda part: ingress({"icmps": [{"fields": [part]}]})],
    "rules": [lambda part: l7(**part)],
    "an element of http": [lambda part: l7(http=[part])],
    "an element of kafka": [lambda part: l7(kafka=[part])],
    "terminatingTLS, originatingTLS": [
        lambda part: beyond_ports(terminatingTLS=part),
        lambda part: beyond_ports(originatingTLS=part),
    ],
    "listener": [lambda part: beyond_ports(egress, listener=part)],
    "an element of toServices": [lambda part: egress({"toServices": [part]})],
}


def test_every_part_is_looked_at() -> None:
    assert [part.name for part in LANGUAGE] == list(WHERE)


@pytest.mark.parametrize("part", LANGUAGE, ids=lambda part: part.name)
def test_the_table_has_the_fields_that_the_schema_has(part: object) -> None:
    """It names them all to who writes one that it does not have."""
    known = next(one for one in LANGUAGE if one is part)
    for hold in WHERE[known.name]:
        error = refused(hold({NOBODY_CALLS_A_FIELD_SO: 1}))
        assert error.message == "no such field"
        assert set(error.hint.removeprefix("known here: ").split(", ")) == set(known.fields)


def test_a_field_is_called_enforced_unless_it_is_refused() -> None:
    for part in LANGUAGE:
        for name, _, state in part.rows():
            if name in UNENFORCED:
                assert state == f"refused: {UNENFORCED[name]}"
            elif state != ENFORCED:
                assert (
                    name in ("labels", "description", "cidrGroupRef", "cidrGroupSelector")
                    or part.state == state
                )


def test_every_field_that_is_refused_is_in_the_table() -> None:
    assert set(UNENFORCED) <= {name for part in LANGUAGE for name in part.fields}
