"""Kubernetes objects that hold rules of this language, as the rules that they hold. PURE.

What an object says beside its rules either means something here (its name) or would narrow them by what does not exist
here (its namespace), and is then refused: without it they would let in more than they were written for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import CiliateError, InvalidInput
from policy.fields import near, only_known, rule_labels, shown, text, under

POLICIES = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
LISTS = ("List", *(f"{kind}List" for kind in POLICIES))

NO_NAMESPACES = (
    "there are no namespaces here: write network:id, compose:project or nomad:namespace into the selectors that are "
    "meant to stay inside one"
)

_METADATA = (
    "name", "namespace", "labels", "annotations", "generateName", "uid", "resourceVersion", "generation",
    "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "ownerReferences",
    "managedFields", "selfLink",
)  # fmt: skip


def is_object(data: Any) -> bool:
    """Rules have neither field."""
    return isinstance(data, Mapping) and ("apiVersion" in data or "kind" in data)


def rules_in(data: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Each rule with its path; one that is no Kubernetes object is itself the only one."""
    if not is_object(data):
        yield path, data
    elif data.get("kind") in LISTS:
        items = data.get("items")
        if not isinstance(items, list):
            raise InvalidInput("must be a list", path=f"{path}.items")
        for number, item in enumerate(items):
            yield from _rules_of(item, f"{path}.items[{number}]")
    else:
        yield from _rules_of(data, path)


def _rules_of(data: Any, path: str) -> Iterator[tuple[str, Any]]:
    try:
        name = _name_of(data)
    except CiliateError as error:
        error.path = under(path, error.path)
        raise
    if data.get("spec") is not None:
        yield f"{path}.spec", _named(data["spec"], name)
    for number, rule in enumerate(data.get("specs") or ()):
        yield f"{path}.specs[{number}]", _named(rule, name)


def _name_of(data: Any) -> str:
    """Raises what keeps the object from being read as rules."""
    if not isinstance(data, Mapping):
        raise InvalidInput("must be an object")
    group, kind = str(data.get("apiVersion")).partition("/")[0], data.get("kind")
    if kind == "NetworkPolicy" and group != "cilium.io":
        raise InvalidInput(
            "NetworkPolicy speaks of pods and namespaces, which do not exist here",
            path="kind",
            hint="write a rule: podSelector becomes endpointSelector, from and to become fromEndpoints and "
            "toEndpoints, ipBlock becomes fromCIDRSet and toCIDRSet, ports become toPorts",
        )
    if kind not in POLICIES:
        raise InvalidInput(f"{shown(kind)} holds no rules", path="kind", hint=near(str(kind), POLICIES))
    if group != "cilium.io":
        raise InvalidInput(
            f"a {kind} is of cilium.io/v2", path="apiVersion", hint="write apiVersion: cilium.io/v2"
        )
    only_known(data, ("apiVersion", "kind", "metadata", "spec", "specs", "status"))
    if data.get("spec") is None and not data.get("specs"):
        raise InvalidInput("holds no rule", path="spec", hint="a rule stands under spec, several under specs")
    if data.get("specs") is not None and not isinstance(data["specs"], list):
        raise InvalidInput("must be a list", path="specs")
    metadata = data.get("metadata")
    try:
        only_known({} if metadata is None else metadata, _METADATA)
    except CiliateError as error:
        error.path = under("metadata", error.path)
        raise
    if metadata is None:
        return ""
    if metadata.get("namespace") not in (None, ""):
        raise InvalidInput(
            f"the rules are for the namespace {shown(metadata['namespace'])} only",
            path="metadata.namespace",
            hint=f"{NO_NAMESPACES}, and leave it out here",
        )
    return "" if metadata.get("name") is None else text(metadata["name"], "metadata.name")


def refuse_every_pod(rule: Mapping[str, Any], path: str) -> None:
    """A selector that demands no label selects every pod of the namespace, or of the cluster, and nobody who is no pod.
    Here it would select everybody. `rule`: one that is understood."""
    for name in ("ingress", "ingressDeny", "egress", "egressDeny"):
        peers = "fromEndpoints" if name.startswith("ingress") else "toEndpoints"
        for number, element in enumerate(rule.get(name) or ()):
            for place, selector in enumerate(element.get(peers) or ()):
                if not _demands_a_label(selector):
                    raise InvalidInput(
                        "in a cluster this means pods only; here it means the host and the world as well",
                        path=f"{path}.{name}[{number}].{peers}[{place}]",
                        hint='add {key: "network:id", operator: Exists} to its matchExpressions: containers have '
                        "that label, and nobody else",
                    )


def _demands_a_label(selector: Mapping[str, Any]) -> bool:
    expressions = selector.get("matchExpressions") or ()
    return bool(selector.get("matchLabels")) or any(
        expression["operator"] in ("In", "Exists") for expression in expressions
    )


def _named(rule: Any, name: str) -> Any:
    """The object's name becomes the rule's label `name`, unless it has one: rules are replaced and deleted by it."""
    if not name or not isinstance(rule, Mapping):
        return rule
    try:
        has_name = rule_labels(rule.get("labels")).with_key("name")
    except CiliateError:
        return rule  # which is refused for it when it is read
    return rule if has_name else {**rule, "labels": [*(rule.get("labels") or ()), f"name={name}"]}
