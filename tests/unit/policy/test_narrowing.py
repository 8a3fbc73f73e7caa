"""What rules demand of each other's peers, and whose service is meant by a Compose name."""

from __future__ import annotations

import pytest

from model.flow import Direction
from model.labels import Labels
from policy.repository import Repository
from policy.resolve import resolve
from policy.schema import load_rules
from tests.unit.policy.drawing import Document

IN, OUT = Direction.INGRESS, Direction.EGRESS

WEB = Labels.parse(["container:app=web", "compose:service=web", "network:id=n1"])
DB = Labels.parse(["container:env=prod", "compose:project=shop", "compose:service=db", "network:id=n1"])
DB_ELSEWHERE = Labels.parse(["compose:project=shop", "compose:service=db", "network:id=n2"])
PROD = Labels.parse(["container:env=prod", "network:id=n1"])
HOST = Labels.parse(["reserved:host"])
EVERYBODY = {"db": DB, "db elsewhere": DB_ELSEWHERE, "prod": PROD, "host": HOST}


def selected(*rules: Document, subject: Labels = WEB) -> set[str]:
    """Whom any rule names as a peer of the subject's."""
    policy = resolve(Repository().add(load_rules(list(rules))), subject)
    if policy.anybody.allow or policy.anybody.deny:
        return set(EVERYBODY)
    return {
        name for name, labels in EVERYBODY.items() if any(peer.matches(labels) for peer in policy.selectors)
    }


def about(direction: str, *elements: Document, selector: Document | None = None) -> Document:
    return {"endpointSelector": selector or {}, direction: list(elements)}


ENV = {"matchLabels": {"env": "prod"}}
SERVICE = {"matchLabels": {"compose:service": "db"}}


def test_a_requirement_narrows_the_peers_of_every_rule_about_the_subject() -> None:
    requires = about("ingress", {"fromRequires": [ENV]})
    assert selected(requires) == set(), "by itself it lets nobody in"
    for anybody in ({}, {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}):
        assert selected(about("ingress", {"fromEndpoints": [anybody]}), requires) == {"db", "prod"}
    assert selected(requires, about("ingress", {"fromEndpoints": [SERVICE]})) == {"db"}
    elsewhere = about("ingress", {"fromRequires": [ENV]}, selector={"matchLabels": {"app": "other"}})
    assert selected(elsewhere, about("ingress", {"fromEndpoints": [{}]})) == set(EVERYBODY)


def test_requirements_add_up() -> None:
    both = {"fromRequires": [ENV, SERVICE], "fromEndpoints": [{}]}
    assert selected(about("ingress", both)) == {"db"}


def test_a_requirement_leaves_entities_prefixes_and_the_other_direction_alone() -> None:
    requires = about("ingress", {"fromRequires": [ENV]})
    assert selected(requires, about("ingress", {"fromEntities": ["host"]})) == {"host"}
    assert selected(requires, about("egress", {"toEndpoints": [SERVICE]})) == {"db"}
    assert selected(requires, about("ingress", {"toPorts": [{"ports": [{"port": "80"}]}]})) == set(EVERYBODY)


def test_what_denying_elements_require_narrows_denials_only() -> None:
    requires = about("ingressDeny", {"fromRequires": [ENV]})
    assert selected(requires, about("ingress", {"fromEndpoints": [SERVICE]})) == {"db"}
    assert selected(requires, about("ingressDeny", {"fromEndpoints": [{}]})) == {"db", "prod"}


@pytest.mark.parametrize(
    ("chosen", "who"),
    [
        (SERVICE, {"db"}),
        ({"matchLabels": {"compose:project": "shop"}}, {"db"}),
        ({"matchExpressions": [{"key": "compose:service", "operator": "Exists"}]}, {"db"}),
        ({"matchLabels": {"compose:service": "db", "network:id": "n2"}}, {"db elsewhere"}),
        (SERVICE | {"matchExpressions": [{"key": "network:id", "operator": "Exists"}]},
         {"db", "db elsewhere"}),
        ({"matchExpressions": [{"key": "compose:service", "operator": "NotIn", "values": ["db"]}]},
         {"prod", "host"}),
        ({"matchExpressions": [{"key": "compose:service", "operator": "DoesNotExist"}]}, {"prod", "host"}),
        ({"matchLabels": {"service": "db"}}, {"db", "db elsewhere"}),
    ],
)  # fmt: skip
def test_a_compose_name_means_the_subjects_own_network(chosen: Document, who: set[str]) -> None:
    """Unless a network is named. What is not to be named so may be anywhere."""
    for direction, list_name in (("ingress", "fromEndpoints"), ("ingressDeny", "fromEndpoints"),
                                 ("egress", "toEndpoints")):  # fmt: skip
        assert selected(about(direction, {list_name: [chosen]})) == who


def test_a_subject_that_knows_no_network_means_every_network() -> None:
    rule = about("ingress", {"fromEndpoints": [SERVICE]})
    assert selected(rule, subject=Labels.parse(["reserved:init"])) == {"db", "db elsewhere"}


def test_a_compose_name_that_is_required_means_the_own_network_too() -> None:
    requires = about("ingress", {"fromRequires": [SERVICE]})
    assert selected(requires, about("ingress", {"fromEndpoints": [{}]})) == {"db"}
    in_another = {"fromEndpoints": [{"matchLabels": {"network:id": "n2"}}]}
    assert selected(requires, about("ingress", in_another)) == {"db elsewhere"}


def test_networks_share_a_policy_unless_the_rules_tell_them_apart() -> None:
    elsewhere = WEB | Labels.parse(["network:id=n2"])
    for chosen, same in ((ENV, True), (SERVICE, False)):
        repository = Repository().add(load_rules(about("ingress", {"fromEndpoints": [chosen]})))
        first, second = resolve(repository, WEB), resolve(repository, elsewhere)
        assert (first is second) is same
