"""The real worker under its supervisor: it starts, serves, dies at any moment and comes back, and ends when told."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from datapath.abi import ABI_VERSION
from tests.docker.harness.agent_process import REPOSITORY
from tests.docker.harness.sandbox import wait_until
from tests.kernel.agent.host import API, NETWORK, PLUGIN, READ_ONLY, Host, docker_id

RULE = {
    "endpointSelector": {"matchLabels": {"role": "web"}},
    "ingress": [{"fromEndpoints": [{"matchLabels": {"role": "client"}}]}],
    "labels": ["name=web"],
}


def admitted(host: Host, role: str) -> set[int]:
    """The identities that the kernel's map of this role's identity names on ingress."""
    used = host.api("GET", "/v1/identity/endpoints")
    (identity,) = {entry["id"] for entry in used if f"container:role={role}" in entry["labels"]}
    return {
        entry["key"]["peer"]
        for entry in host.api("GET", "/v1/map/policies")
        if entry["key"]["identity"] == identity and entry["key"]["direction"] == "ingress"
    }


def test_docker_s_protocol_from_the_first_call_to_the_last(host: Host) -> None:
    assert host.plugin("/Plugin.Activate") == {"Implements": ["NetworkDriver", "IpamDriver"]}
    assert host.driver("GetCapabilities")["Scope"] == "local"
    pools = host.network(ipv6=True)
    endpoint = "e" * 64
    made = host.create(endpoint, pools, **{"ciliate.labels": "tier=front"})
    assert made["Interface"]["MacAddress"]
    joined = host.join(endpoint)
    assert joined["Gateway"] and joined["GatewayIPv6"]
    (link,) = host.links()
    shown = host.endpoints()[endpoint]
    assert (shown["ifname"], shown["state"]) == (link, "waiting-for-labels")
    assert shown["labels"] == ["reserved:init"], "no engine tells any"
    host.all_is_well()
    ids = {"NetworkID": NETWORK, "EndpointID": endpoint}
    port = {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}
    options = {"com.docker.network.portmap": [port]}
    assert host.driver("ProgramExternalConnectivity", Options=options, **ids) == {}
    assert {found["host_port"] for found in host.endpoints()[endpoint]["ports"]} == {8080}
    assert host.driver("EndpointOperInfo", **ids) == {"Value": {}}
    for _ in range(2):
        assert host.driver("RevokeExternalConnectivity", **ids) == {}
        assert host.driver("Leave", **ids) == {}
        assert host.driver("DeleteEndpoint", **ids) == {}
    assert host.endpoints() == {}
    assert host.driver("DeleteNetwork", NetworkID=NETWORK) == {}
    host.all_is_well()


def test_labels_given_through_the_api_make_the_identity(host: Host) -> None:
    pools = host.network()
    first, second = (host.container(number, pools, ["role=web"]) for number in (1, 2))
    endpoints = host.endpoints()
    assert endpoints[first]["identity"] == endpoints[second]["identity"] >= 256
    assert "container:role=web" in endpoints[first]["labels"]
    host.all_is_well()
    lines = host.api("GET", f"/v1/endpoint/docker-endpoint:{first}/log")
    assert "role=web" in " ".join(line["text"] for line in lines)
    host.api("PATCH", f"/v1/endpoint/docker-endpoint:{first}/labels", {"labels": None})
    assert host.endpoints()[first]["state"] == "waiting-for-labels", "no engine tells the container's own"


def test_a_call_made_while_the_worker_is_down_is_answered_by_the_next(host: Host) -> None:
    pools = host.network()
    host.container(1, pools, ["role=web"])
    host.container(2, pools, ["role=client"])
    host.api("PUT", "/v1/policy?wait=20", [RULE])
    before, peers = host.endpoints(), admitted(host, "web")
    worker = host.agent.pid()
    host.agent.kill()
    with host.connect(PLUGIN) as docker:  # at once: there is no worker now
        docker.sendall(
            b"POST /NetworkDriver.GetCapabilities HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        )
        assert docker.recv(4096).startswith(b"HTTP/1.1 200 OK")
    assert host.agent.pid() != worker
    assert host.endpoints() == before
    assert admitted(host, "web") == peers
    host.all_is_well()
    (told,) = [child for child in host.api("GET", "/v1/healthz")["children"] if child["name"] == "worker"]
    assert told["restarts"] > 0


def test_killed_in_the_middle_of_anything_it_takes_up_where_it_was(host: Host) -> None:
    """Docker goes on starting and removing containers, and repeats what was not answered."""
    pools = host.network()
    done = threading.Event()

    def live(number: int) -> None:
        endpoint = docker_id(number)
        ids = {"NetworkID": NETWORK, "EndpointID": endpoint}
        while True:
            host.create(endpoint, pools)
            host.join(endpoint)
            labels = {"labels": [f"role=r{number}"]}
            with suppress(OSError, AssertionError):  # the user who asks for it does not try again
                host.api("PATCH", f"/v1/endpoint/docker-endpoint:{endpoint}/labels", labels)
            if done.is_set():
                return
            host.driver("Leave", **ids)
            host.driver("DeleteEndpoint", **ids)

    with ThreadPoolExecutor(3) as threads:
        lives = [threads.submit(live, number) for number in (1, 2, 3)]
        for _ in range(4):
            worker = host.agent.pid()
            time.sleep(0.3)
            host.agent.kill()
            wait_until(lambda was=worker: host.agent.pid() != was, "another worker is there", 60)
        done.set()
        for ended in lives:
            ended.result(120)
    host.agent.wait_ready()
    host.all_is_well()
    assert len(host.links()) == len(host.endpoints()) == 3


def test_what_another_version_left_in_the_kernel_goes_at_the_next_start(host: Host) -> None:
    pools = host.network()
    host.container(1, pools)
    host.run("mkdir", "-p", "/sys/fs/bpf/ciliate/0/maps", "/sys/fs/bpf/ciliate/0/progs")
    host.run("ln", f"/sys/fs/bpf/ciliate/{ABI_VERSION}/maps/epoch", "/sys/fs/bpf/ciliate/0/maps/epoch")
    host.agent.kill()
    wait_until(
        lambda: host.run("ls", "/sys/fs/bpf/ciliate").out.split() == [str(ABI_VERSION)],
        "the old version is gone",
    )
    host.all_is_well()


def test_rules_that_were_answered_are_in_force_after_a_kill(host: Host) -> None:
    pools = host.network()
    host.container(1, pools, ["role=web"])
    client = host.container(2, pools, ["role=client"])
    assert admitted(host, "web") == {0}, "nothing is said about it"
    revision = host.api("PUT", "/v1/policy", [RULE])["revision"]
    host.agent.kill()
    shown = host.api("GET", "/v1/policy")
    assert shown["policy"] == [RULE] and shown["revision"] >= revision
    assert admitted(host, "web") == {host.endpoints()[client]["identity"]}


def test_a_stop_waits_for_nobody_who_does_nothing(host: Host) -> None:
    """Kept connections, silent ones, half a request, and one who waits for a revision that never comes."""
    with ExitStack() as open_:
        kept = open_.enter_context(host.connect(PLUGIN))
        kept.sendall(b"POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b"200 OK" in kept.recv(4096)
        for path in (PLUGIN, API, READ_ONLY):
            open_.enter_context(host.connect(path))
        half = open_.enter_context(host.connect(READ_ONLY))
        half.sendall(b"GET /v1/hea")
        waiting = open_.enter_context(host.connect(API))
        waiting.sendall(b"GET /v1/policy?revision=999999999&wait=300 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)
        supervisor = host.agent.pid("supervisor")
        host.sandbox.kill(supervisor, signal.SIGTERM)
        wait_until(
            lambda: not host.sandbox.path(f"/proc/{supervisor}").exists(),
            "the agent has ended",
            8,
            pause=0.01,
        )
        answer = b""
        while more := waiting.recv(4096):
            answer += more
        assert b"503" in answer.splitlines()[0] and b"the agent is stopping" in answer
    left = [path.name for path in host.sandbox.path("/run/ciliate").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []
    assert not host.sandbox.path(PLUGIN).exists()


def test_readers_keep_neither_docker_nor_root_waiting(host: Host) -> None:
    with ExitStack() as open_:
        for _ in range(80):  # more than there may be
            connection = open_.enter_context(host.connect(READ_ONLY))
            with suppress(BrokenPipeError):
                connection.sendall(b"GET /v1/healthz HTT")
        assert host.plugin("/Plugin.Activate")
        assert host.api("GET", "/v1/healthz")
    wait_until(lambda: _reads(host), "readers are served again")


def _reads(host: Host) -> bool:
    with suppress(OSError):
        return host.ask(READ_ONLY, "GET", "/v1/healthz").status == 200
    return False


def test_too_many_who_wait_are_refused_and_not_queued(host: Host) -> None:
    with ExitStack() as open_:
        for _ in range(7):
            connection = open_.enter_context(host.connect(API))
            connection.sendall(b"GET /v1/policy?revision=999999999&wait=300 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: host.ask(API, "GET", "/v1/healthz").status == 503, "the eighth is refused")
        assert host.ask(READ_ONLY, "GET", "/v1/healthz").status == 200
        assert host.plugin("/Plugin.Activate")
        host.agent.kill()  # they would wait for 300 s
    host.begin()


@pytest.mark.parametrize(
    ("path", "method", "url", "body", "status", "said"),
    [
        (READ_ONLY, "DELETE", "/v1/policy", None, 403, "only reads"),
        (READ_ONLY, "GET", "/NetworkDriver.GetCapabilities", None, 404, "openapi"),
        (PLUGIN, "GET", "/v1/healthz", None, 404, "ciliate has no GET"),
        (PLUGIN, "POST", "/NetworkDriver.Join", b"{", 500, "no JSON"),
        (API, "PUT", "/v1/policy", b"x" * (5 << 20), 413, "4 MiB"),
        (API, "PUT", "/v1/policy?dryrun=true", b"[]", 400, "no such parameter"),
        (API, "DELETE", "/v1/policy?label=a", None, 400, "no such parameter"),
        (API, "DELETE", "/v1/policy?labels=", None, 400, "has no key"),
        (API, "PUT", "/v1/policy?wait=soon", b"[]", 400, "number"),
        (API, "DELETE", "/v1/config", None, 405, "openapi"),
        (API, "GET", "/v1/endpoint/ipv4:nonsense", None, 400, "ipv4:10.200.0.2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    host: Host, path: str, method: str, url: str, body: object, status: int, said: str
) -> None:
    answer = host.ask(path, method, url, body)
    assert (answer.status, said in answer.text) == (status, True), answer.text
    assert json.loads(answer.text)


def test_a_body_in_chunks_is_a_body(host: Host) -> None:
    rule = json.dumps([RULE]).encode()
    with host.connect(API) as connection:
        connection.sendall(
            b"PUT /v1/policy?dry-run=true HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n%s\r\n0\r\n\r\n" % (len(rule), rule)
        )
        assert b"200 OK" in connection.recv(4096)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v1/" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /v1/healthz HTTP/1.1\r\n" + b"X: " + b"y" * 10000 + b"\r\n\r\n", 431),
        (b"PUT /v1/policy HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_what_is_no_http_is_answered_in_the_same_form(host: Host, sent: bytes, status: int) -> None:
    with host.connect(API) as connection:
        connection.sendall(sent)
        answer = b""
        while more := connection.recv(4096):
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status, answer
    assert json.loads(body).keys() == {"error", "path", "hint"}


def test_only_one_worker_owns_the_state(host: Host) -> None:
    """A second supervisor refuses; its sockets and the state stay the first one's."""
    second = host.sandbox.run(sys.executable, "-m", "agent.supervise", cwd=REPOSITORY, check=False)
    assert second.status == 1
    assert "runs here already" in second.err
    assert host.api("GET", "/v1/healthz")


def test_wrong_settings_are_all_told_and_nothing_starts(host: Host) -> None:
    wrong = {"CILIATE_POOL": "nonsense", "CILIATE_LOG_LEVEL": "loud", "CILIATE_TYPO": "1"}
    refused = host.sandbox.run(
        sys.executable, "-m", "agent.supervise", cwd=REPOSITORY, env=wrong, check=False
    )
    assert refused.status == 2
    assert all(name in refused.err for name in wrong)


def status_of(host: Host) -> dict[str, Any]:
    answer: dict[str, Any] = host.api("GET", "/v1/healthz")
    return answer


def test_without_an_engine_it_is_degraded_and_says_what_to_do(host: Host) -> None:
    health = status_of(host)
    assert health["status"] == "degraded"
    assert health["docker"]["state"] == "not answering"
    told = host.sandbox.run(sys.executable, "-m", "cli.main", "status", cwd=REPOSITORY, check=False)
    assert told.status == 1
    assert "DOCKER_HOST" in told.out
