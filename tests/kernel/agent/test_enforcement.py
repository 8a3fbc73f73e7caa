"""Enforcement and audit mode over REST, in the real agent: in force in the kernel at once, and after it was killed."""

from __future__ import annotations

from typing import Any

from datapath.tables import EndpointFlag
from tests.docker.harness.sandbox import wait_until
from tests.kernel.agent.host import Host

MODE, AUDIT = "CILIATE_POLICY_ENFORCEMENT", "CILIATE_POLICY_AUDIT"


def settings(host: Host) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["value"], each["source"]) for each in host.api("GET", "/v1/config")}


def audited(host: Host) -> list[bool]:
    entries = sorted(host.api("GET", "/v1/map/endpoints"), key=lambda entry: int(entry["value"]["id"]))
    return [bool(entry["value"]["flags"] & EndpointFlag.AUDIT) for entry in entries]


def is_open(host: Host) -> bool:
    """Every identity's map lets anybody in."""
    anybody = [entry["key"] for entry in host.api("GET", "/v1/map/policies") if entry["key"]["peer"] == 0]
    return sum(key["direction"] == "ingress" for key in anybody) == 2


def warned(host: Host) -> list[Any]:
    return [each for each in host.api("GET", "/v1/healthz")["warnings"] if each["kind"] == "AUDIT"]


def test_enforcement_and_audit_mode_can_be_changed_at_any_time(host: Host) -> None:
    pools = host.network()
    web, _ = (
        host.container(number, pools, [f"role={role}"]) for number, role in enumerate(("web", "client"), 1)
    )
    assert settings(host)[MODE] == ("default", "default")
    assert is_open(host)
    host.api("PATCH", "/v1/config", {MODE: "always"})
    assert not is_open(host)
    endpoint = f"/v1/endpoint/docker-endpoint:{web}"
    assert host.api("GET", endpoint)["enforcement"] == {"ingress": True, "egress": True, "audit": False}
    assert host.api("PATCH", f"{endpoint}/config", {"audit": True}) == {"audit": True, "audit_in_force": True}
    assert audited(host) == [True, False]
    assert "1 endpoints" in warned(host)[0]["text"]
    worker = host.agent.pid()
    host.agent.kill()
    wait_until(lambda: host.agent.pid() != worker, "another worker")
    assert settings(host)[MODE] == ("always", "api")
    assert not is_open(host)
    assert audited(host) == [True, False]
    host.api("PATCH", f"{endpoint}/config", {"audit": False})
    host.api("PATCH", "/v1/config", {MODE: None, AUDIT: "true"})
    assert settings(host)[AUDIT] == ("true", "api")
    assert audited(host) == [True, True]
    assert is_open(host)
    host.api("PATCH", "/v1/config", {AUDIT: None})
    assert (audited(host), warned(host)) == ([False, False], [])
    host.all_is_well()
    for body, path in (
        ({"CILIATE_POOL": "10.0.0.0/8"}, "CILIATE_POOL"),
        ({"CILIATE_ENCRYPTION": "strict"}, "CILIATE_ENCRYPTION"),
        ({MODE: "half"}, MODE),
        ({AUDIT: True}, AUDIT),
        ({"nonsense": "1"}, "nonsense"),
    ):
        refusal = host.api("PATCH", "/v1/config", body, status=400)
        assert refusal["path"] == path, refusal
    refusal = host.api("POST", "/v1/policy/check?audit=true", [], status=400)
    assert refusal["path"] == "audit"
    answer = host.api(
        "PUT", "/v1/policy/name/base?audit=true&wait=10", [{"endpointSelector": {}, "ingress": [{}]}]
    )
    assert (answer["result"], answer["audit"]) == ("created", True)
    assert is_open(host) and "base" in warned(host)[0]["text"]
    assert host.api("GET", "/v1/policy/name/base")["audit"]
    host.api("PATCH", f"{endpoint}/config", {"audit": "perhaps"}, status=400)
    host.api("PATCH", "/v1/endpoint/9999/config", {"audit": True}, status=404)
