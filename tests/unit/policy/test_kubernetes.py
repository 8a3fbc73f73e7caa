"""Rules that stand in Kubernetes objects, as clusters keep them."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import CiliateError, InvalidInput
from policy.schema import dump_rules, load_rules
from tests.unit.policy.drawing import Document
from tests.unit.policy.writing import egress, ingress, refused

RULE = ingress({"fromEntities": ["host"]})

OTHERS = {"key": "app", "operator": "NotIn", "values": ["web"]}
CONTAINERS = {"matchExpressions": [OTHERS, {"key": "network:id", "operator": "Exists"}]}
CALLERS = ingress({"fromEndpoints": [CONTAINERS]})


def cilium(**members: object) -> Document:
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "web"},
    } | members


def read(document: object) -> list[dict[str, Any]]:
    return dump_rules(load_rules(document))


NAMED = RULE | {"labels": ["name=web"]}


@pytest.mark.parametrize(
    ("document", "rules"),
    [
        (cilium(spec=RULE), [NAMED]),
        (cilium(specs=[RULE, RULE | {"description": "x"}]), [NAMED, NAMED | {"description": "x"}]),
        (cilium(spec=RULE, specs=[RULE]), [NAMED, NAMED]),
        (cilium(spec=RULE, kind="CiliumClusterwideNetworkPolicy"), [NAMED]),
        (cilium(spec=RULE, metadata=None), [RULE]),
        (cilium(spec=CALLERS, metadata={}), [CALLERS]),
        (cilium(spec=RULE, metadata={"namespace": None, "labels": {"a": "b"}, "uid": "1"}), [RULE]),
        (cilium(spec=RULE, metadata={"namespace": ""}), [RULE]),
        (cilium(spec=RULE, status={"derivativePolicies": {}}), [NAMED]),
        (cilium(spec=RULE | {"labels": ["team=a"]}), [RULE | {"labels": ["team=a", "name=web"]}]),
        (cilium(spec=RULE | {"labels": ["name=own"]}), [RULE | {"labels": ["name=own"]}]),
        (cilium(spec=RULE | {"labels": [{"key": "name", "value": "own"}]}),
         [RULE | {"labels": [{"key": "name", "value": "own"}]}]),
        ([RULE, cilium(spec=RULE), RULE], [RULE, NAMED, RULE]),
        ({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [cilium(spec=RULE), cilium(specs=[RULE])]},
         [NAMED, NAMED]),
        ({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicyList", "items": []}, []),
    ],
)  # fmt: skip
def test_objects_that_hold_rules(document: object, rules: list[Document]) -> None:
    assert read(document) == rules


WRONG: list[tuple[object, str, str]] = [
    # (document, path, what the message or the hint must say)
    (cilium(spec=ingress({"fromEndpoints": [CONTAINERS, {}]})), "rules[0].spec.ingress[0].fromEndpoints[1]",
     "the host and the world as well"),
    (cilium(specs=[egress({"toEndpoints": [{"matchExpressions": [OTHERS]}]})], kind="CiliumClusterwideNetworkPolicy"),
     "rules[0].specs[0].egress[0].toEndpoints[0]", "network:id"),
    (cilium(spec=RULE | {"ingres": []}), "rules[0].spec.ingres", "did you mean 'ingress'?"),
    (cilium(specs=[RULE, ingress({"fromCIDR": ["x"]})]), "rules[0].specs[1].ingress[0].fromCIDR[0]", "prefix"),
    (cilium(spec={}), "rules[0].spec.endpointSelector", "{} selects all"),
    (cilium(spec=[RULE]), "rules[0].spec", "object"),
    (cilium(specs=RULE), "rules[0].specs", "list"),
    (cilium(specs=[]), "rules[0].spec", "under spec"),
    (cilium(), "rules[0].spec", "under spec"),
    (cilium(spec=RULE | {"labels": "x"}), "rules[0].spec.labels", "list"),
    (cilium(spec=RULE, metadata={"name": "web", "namespace": "default"}), "rules[0].metadata.namespace",
     "compose:project"),
    (cilium(spec=RULE, metadata={"name": 1}), "rules[0].metadata.name", "quotes"),
    (cilium(spec=RULE, metadata={"nmae": "x"}), "rules[0].metadata.nmae", "did you mean 'name'?"),
    (cilium(spec=RULE, metadata=["x"]), "rules[0].metadata", "object"),
    (cilium(spec=RULE, apiVersion="v1"), "rules[0].apiVersion", "cilium.io/v2"),
    (cilium(spec=RULE, kind="CiliumNetworkPolice"), "rules[0].kind", "did you mean 'CiliumNetworkPolicy'?"),
    (cilium(spec=RULE, extra=1), "rules[0].extra", "no such field"),
    ({"apiVersion": "v1", "kind": "Service", "spec": {}}, "rules[0].kind", "holds no rules"),
    ({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {}}, "rules[0].kind",
     "podSelector becomes endpointSelector"),
    ({"kind": "CiliumNetworkPolicy", "spec": RULE}, "rules[0].apiVersion", "cilium.io/v2"),
    ({"apiVersion": "cilium.io/v2", "spec": RULE}, "rules[0].kind", "holds no rules"),
    ({"kind": "List", "items": {}}, "rules[0].items", "list"),
    ({"kind": "List", "items": [cilium(spec=RULE), RULE]}, "rules[0].items[1].kind", "holds no rules"),
    ({"kind": "List", "items": ["x"]}, "rules[0].items[0]", "object"),
    (cilium(spec=RULE, kind=["x"] * 100_000), "rules[0].kind", "holds no rules"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path", "said"), WRONG)
def test_what_is_wrong_with_an_object(document: object, path: str, said: str) -> None:
    error = refused(document)
    assert isinstance(error, InvalidInput)
    assert error.path == path
    assert said in f"{error.message} {error.hint}"
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("k8s:app", "container:KEY"),
        ("k8s:io.kubernetes.pod.namespace", "network:id, compose:project or nomad:namespace"),
        ("io.kubernetes.pod.namespace", "network:id"),
        ("any:io.kubernetes.pod.namespace", "network:id"),
        ("k8s:io.cilium.k8s.namespace.labels.team", "network:id"),
        ("k8s:io.cilium.k8s.policy.cluster", "leave it out"),
        ("io.cilium.k8s.policy.serviceaccount", "give the containers a label"),
        ("com.docker.compose.service", "compose:service"),
        ("com.hashicorp.nomad.job_id", "nomad:job"),
    ],
)
def test_what_others_write_onto_pods_and_containers_selects_nobody(name: str, said: str) -> None:
    error = refused(cilium(spec=ingress({"fromEndpoints": [{"matchLabels": {name: "x"}}]})))
    assert error.path == f"rules[0].spec.ingress[0].fromEndpoints[0].matchLabels.{name}"
    assert said in error.hint


def test_a_label_of_a_container_may_be_called_as_it_likes() -> None:
    for key in ("io.kubernetes.pod.namespace", "com.docker.compose.service"):
        load_rules(ingress({"fromEndpoints": [{"matchLabels": {f"container:{key}": "x"}}]}))


@pytest.mark.parametrize("junk", [None, 1, "x", [], [[]], {"kind": None}, {"kind": {}}, {"apiVersion": []}])
def test_whatever_is_no_object_is_refused(junk: object) -> None:
    for document in (junk, {"kind": "List", "items": junk}, cilium(spec=junk), cilium(specs=junk),
                     cilium(spec=RULE, metadata=junk)):  # fmt: skip
        try:
            load_rules([document])
        except CiliateError as error:
            assert error.path.startswith("rules[0]")
