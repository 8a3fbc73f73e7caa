"""PURE. What the rules in force mean for an endpoint, and which selectors they use: in the words of a trace. Shapes are
those of agent/schema.py."""

from __future__ import annotations

from collections import Counter

from agent.state import State
from agent.views import View, identity
from model.endpoint import Endpoint
from model.errors import Conflict
from model.flow import Direction
from model.labels import Labels
from policy.mapstate import map_state
from policy.narrowing import narrowed, network_of, required
from policy.resolve import Enforcement, not_audited
from policy.rule import Element
from policy.selector import Selector
from policy.trace import RuleReading, default_reason, numbered
from policy.wording import element_text, selector_text

MOST = 20
"""Identities that are named for one element; it may select all there are."""


def endpoint_policy(state: State, endpoint: Endpoint) -> View:
    """Raises Conflict for one that has no policy because it does not run."""
    subject = state.subjects.get(endpoint.identity)
    if subject is None or not endpoint.ifindex:
        raise Conflict(f"endpoint {endpoint.id} has no running container", hint="start it first")
    rules = [
        RuleReading(number, name, rule, True, selector_text(rule.subject), ())
        for number, name, rule in numbered(state.repository)
        if subject.mode is not Enforcement.NEVER and rule.subject.matches(subject.labels)
    ]
    enforced = subject.policy.enforced
    return {
        "endpoint": endpoint.id,
        "name": endpoint.container_name or f"endpoint {endpoint.id}",
        "identity": endpoint.identity,
        "labels": subject.labels.texts(),
        "audit": state.audit or endpoint.audit,
        "slot": subject.slot,
        "entries": len(map_state(subject.policy, state.select)),
        **{
            direction.name.lower(): _direction(
                state,
                rules,
                subject.labels,
                subject.mode,
                direction,
                closed=direction in enforced,
                audited=direction in (subject.policy.would or subject.policy).enforced,
            )
            for direction in Direction
        },
    }


def _direction(
    state: State,
    rules: list[RuleReading],
    subject: Labels,
    mode: Enforcement,
    direction: Direction,
    *,
    closed: bool,
    audited: bool,
) -> View:
    """What audited rules say is read as if they were in force."""
    way = direction.name.lower()
    chosen = [one.rule for one in rules]
    network = network_of(chosen, subject)
    demands = {False: required(not_audited(chosen)), True: required(chosen)}
    telling = [one for one in rules if one.rule.allows[direction] or one.rule.denies[direction]]
    if mode is Enforcement.NEVER:
        reason = "enforcement is `never`: rules are ignored"
    else:
        in_force = [one for one in telling if not one.rule.is_audited]
        reason = default_reason(in_force, closed, mode, direction)
        if audited and not closed:
            reason = f"only told, for it is audited: {default_reason(telling, audited, mode, direction)}"

    def shown(element: Element, path: str, *, denies: bool, audited: bool) -> View:
        demanded = demands[audited].get((direction, denies), ())
        peers = [narrowed(peer, demanded, network) for peer in element.peers or ()]
        return {
            "path": path,
            "says": element_text(element, direction, denies=denies),
            "denies": denies,
            **_selected(state, None if element.peers is None else peers),
        }

    return {
        "enforced": closed,
        "audited": audited and not closed,
        "reason": reason,
        "rules": [
            {
                "rule": one.number,
                "name": one.name,
                "text": str(one),
                "why": one.why,
                "elements": [
                    shown(
                        element,
                        f"{way}{'Deny' if denies else ''}[{place}]",
                        denies=denies,
                        audited=one.rule.is_audited,
                    )
                    for denies, lists in ((True, one.rule.denies), (False, one.rule.allows))
                    for place, element in enumerate(lists[direction])
                ],
            }
            for one in telling
        ],
    }


def _selected(state: State, peers: list[Selector] | None) -> View:
    """`selected` null: anybody."""
    if peers is None or any(peer.is_wildcard for peer in peers):
        return {"selected": None, "identities": []}
    numbers = sorted({number for peer in peers for number in state.select(peer)})
    known = state.known_identities()
    return {
        "selected": len(numbers),
        "identities": [identity(number, known[number]) for number in numbers[:MOST]],
    }


def selectors(state: State) -> list[View]:
    """Those that rules of this node's endpoints use for their peers, the most used first. `users`: local identities."""
    policies = {id(subject.policy): subject.policy for subject in state.subjects.values()}
    holders = Counter(id(subject.policy) for subject in state.subjects.values())
    users: Counter[Selector] = Counter()
    for key, policy in policies.items():
        for selector in policy.selectors:
            users[selector] += holders[key]
    found = [
        {
            "selector": selector_text(selector),
            "users": number,
            "identities": sorted(state.select(selector)),
        }
        for selector, number in users.items()
    ]
    return sorted(found, key=lambda view: (-view["users"], view["selector"]))
