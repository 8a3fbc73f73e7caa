"""What applies to a subject, before anybody knows its peers."""

from __future__ import annotations

import pytest

from model.flow import Direction
from model.identity import Reserved
from model.labels import Labels
from policy.repository import Repository
from policy.resolve import BOTH, Enforcement, SubjectPolicy, resolve
from policy.schema import load_rules
from tests.unit.policy.drawing import Document

IN, OUT = Direction.INGRESS, Direction.EGRESS
WEB = Labels.parse(["container:app=web"])
INIT = Reserved.INIT.labels


def resolved(
    *rules: Document, subject: Labels = WEB, mode: Enforcement = Enforcement.DEFAULT
) -> SubjectPolicy:
    return resolve(Repository().add(load_rules(list(rules))), subject, mode=mode)


FOR_WEB = {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"fromEntities": ["host"]}]}
FOR_DB = {"endpointSelector": {"matchLabels": {"app": "db"}}, "egress": [{"toEntities": ["host"]}]}


@pytest.mark.parametrize(
    ("subject", "mode", "enforced"),
    [
        (WEB, Enforcement.DEFAULT, {IN}),
        (WEB, Enforcement.ALWAYS, BOTH),
        (WEB, Enforcement.NEVER, set()),
        (INIT, Enforcement.DEFAULT, BOTH),
        (INIT, Enforcement.ALWAYS, BOTH),
        (INIT, Enforcement.NEVER, set()),
        (Labels.parse(["container:app=other"]), Enforcement.DEFAULT, set()),
    ],
)
def test_which_directions_deny_by_default(
    subject: Labels, mode: Enforcement, enforced: set[Direction]
) -> None:
    policy = resolved(FOR_WEB, FOR_DB, subject=subject, mode=mode)
    assert policy.enforced == enforced
    assert (policy.ingress_enforced, policy.egress_enforced) == (IN in enforced, OUT in enforced)


def test_one_rule_that_denies_by_default_is_enough() -> None:
    lenient = FOR_WEB | {"enableDefaultDeny": {"ingress": False}}
    assert resolved(lenient).enforced == set()
    assert resolved(lenient, FOR_WEB).enforced == {IN}


def test_rules_add_up() -> None:
    more = {
        "endpointSelector": {},
        "ingress": [{"fromEntities": ["host", "world"]}],
        "ingressDeny": FOR_WEB["ingress"],
    }
    policy = resolved(FOR_WEB, more)
    host, world = policy.selectors
    assert {host.entity.value, world.entity.value} == {"host", "world"}  # type: ignore[union-attr]
    said = {peer.entity.value: grants for peer, grants in policy.peers.items()}  # type: ignore[union-attr]
    everything = {(IN, 0, 0, 0)}
    assert (said["host"].allow, said["host"].deny) == (everything, everything)
    assert (said["world"].allow, said["world"].deny) == (everything, set())


def test_wildcards_are_anybody() -> None:
    """Not a selector to be asked about each identity."""
    at_80: Document = {"toPorts": [{"ports": [{"port": "80"}]}]}
    for way in ({"fromEndpoints": [{}]}, {"fromEntities": ["all"]}, at_80):
        policy = resolved({"endpointSelector": {}, "ingress": [way]})
        assert policy.selectors == frozenset()
        assert policy.anybody.allow


def test_nobody_is_nobody() -> None:
    for nothing in ({}, {"fromEndpoints": []}, {"fromEntities": []}):
        policy = resolved({"endpointSelector": {}, "ingress": [nothing]})
        assert (policy.selectors, policy.anybody.allow, policy.enforced) == (frozenset(), frozenset(), {IN})


def test_never_means_no_rule_at_all() -> None:
    policy = resolved(FOR_WEB, mode=Enforcement.NEVER)
    assert (policy.selectors, policy.enforced) == (frozenset(), frozenset())
