"""Docker's API: who stands behind an endpoint, what is running, what has changed. The only file that uses the
Docker SDK, which is imported in the background because it is large.

A callback of Docker's must never wait for Docker: `inspect` of a container blocks until the callback has
returned. What is used here takes no lock of a container (tried on 20.10 and 26.1)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from driver.facts import ContainerFacts, labels_of_image, name_filter
from driver.ondisk import OnDisk
from model.endpoint import Endpoint
from model.errors import NotFound, Unavailable

log = structlog.get_logger("driver")

BUDGET_SECONDS = 0.4
"""What a Join may spend on labels, all in all."""

_PATIENCE_SECONDS = 10.0
"""What the background may spend on one request."""

_PING_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_EVENT_TYPES = ["container", "network"]
_MOST_IMAGES = 4096
_MOST_CLIENTS = 8


class Listener(Protocol):
    """Called from the thread that watches the engine; a failure is logged and forgotten."""

    def engine_up(self) -> None:
        """The API answers, for the first time or again. Events may have been missed."""

    def changed(self, kind: str, action: str, identifier: str) -> None:
        """`kind` is "container" or "network", `identifier` Docker's id of it; `action` is "create", "start",
        "connect", "rename", "die" and so on."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """`version` "" until the engine has answered once."""

    up: bool
    version: str


class Containers:
    """Safe for many threads. `root` is the engine's data root as last remembered; `remember` is called with it
    each time the engine tells another."""

    def __init__(self, base_url: str, root: Path | None, remember: Callable[[Path], None]) -> None:
        self._base_url = base_url
        self._root = root
        self._remember = remember
        self._on_disk = OnDisk(lambda: self._root)
        self._clients: queue.LifoQueue[Any] = queue.LifoQueue()
        self._up = threading.Event()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._version = ""
        self._api_version = "auto"
        self._images: dict[str, dict[str, str]] = {}
        self._events: Any = None
        self._thread: threading.Thread | None = None

    @property
    def root(self) -> Path | None:
        """The engine's data root, as last told."""
        return self._root

    @property
    def state(self) -> EngineState:
        return EngineState(self._up.is_set(), self._version)

    def start(self, listener: Listener) -> None:
        """Watch the engine from now on. Never waits for it."""
        self._thread = threading.Thread(target=self._watch, args=(listener,), name="engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._wake.set()
        self._end_stream()
        if self._thread is not None:
            self._thread.join(_PING_SECONDS + 1.0)
        while not self._clients.empty():
            self._clients.get_nowait().close()

    def find(self, endpoint: Endpoint) -> ContainerFacts | None:
        """From the API within BUDGET_SECONDS, else from the engine's files; never raises. After one time-out the
        API is not asked again until it has answered a ping: fifty containers that start at boot must not wait
        one after the other."""
        if self._up.is_set():
            deadline = time.monotonic() + BUDGET_SECONDS
            try:
                return self._find(endpoint, lambda: deadline - time.monotonic())
            except Unavailable:
                self._went_down()
            except NotFound:
                return None
            except (KeyError, TypeError, ValueError, AttributeError):
                log.exception("the engine answered what was not expected")
                return None
        return self._on_disk.find(endpoint)

    def find_patiently(self, endpoint: Endpoint) -> ContainerFacts | None:
        """From the API alone. Not to be used while Docker waits for us. Raises Unavailable."""
        try:
            return self._find(endpoint, lambda: _PATIENCE_SECONDS)
        except NotFound:
            return None

    def aliases(self, container: str, network: str) -> list[str]:
        """What a container is called in a network beside its name, given both ids. Waits for a container that is just
        starting, so not to be asked while Docker waits for us. Raises Unavailable, NotFound."""
        with self._client(_PATIENCE_SECONDS) as client:
            members = client.inspect_container(container)["NetworkSettings"]["Networks"] or {}
        return [
            str(alias)
            for member in members.values()
            if member.get("NetworkID") == network
            for alias in member.get("Aliases") or ()
        ]

    def networks(self) -> dict[str, Mapping[str, Any]]:
        """Every network of the engine by id, without its endpoints. Raises Unavailable."""
        with self._client(_PATIENCE_SECONDS) as client:
            return {network["Id"]: network for network in client.networks()}

    def network(self, docker_id: str) -> Mapping[str, Any] | None:
        """One network with its endpoints, None if there is none. Raises Unavailable."""
        with self._client(_PATIENCE_SECONDS) as client:
            try:
                found: Mapping[str, Any] = client.inspect_network(docker_id)
            except _sdk().errors.NotFound:
                return None
            return found

    def running(self) -> list[Mapping[str, Any]]:
        """The list of running containers, as the API gives it. Raises Unavailable."""
        return self._listed(all=False)

    def all(self) -> list[Mapping[str, Any]]:
        """The same with those that do not run."""
        return self._listed(all=True)

    def _listed(self, *, all: bool) -> list[Mapping[str, Any]]:
        with self._client(_PATIENCE_SECONDS) as client:
            return list(client.containers(all=all))

    def _find(self, endpoint: Endpoint, remaining: Callable[[], float]) -> ContainerFacts | None:
        """The name, then the container of that name. A network is asked only where the engine's own record of the
        endpoint does not tell: looked at while endpoints come and go, an engine now and then miscounts them, and
        the network can then not be removed (moby issue 42119; in 20.10 in 3 of 35 rounds of twenty containers on
        Docker's own bridge, in none of 36 without looking)."""
        name = self._on_disk.name(endpoint)
        with self._client(remaining()) as client:
            found = self._named(client, name) if name is not None else None
            if found is None:
                client.timeout = max(remaining(), 0.001)
                name = _name_behind(client.inspect_network(endpoint.network_id), endpoint.docker_id)
                if name is None:
                    return None
                client.timeout = max(remaining(), 0.001)
                found = self._named(client, name)
            if name is None or found is None:
                return None
            client.timeout = max(remaining(), 0.001)
            image_labels = self._image_labels(client, found.get("ImageID") or "")
            if image_labels is None:
                return None
            return ContainerFacts(found["Id"], name, found.get("Labels") or {}, image_labels)

    @staticmethod
    def _named(client: Any, name: str) -> dict[str, Any] | None:
        """The one container of this name, as a list shows it."""
        found: list[dict[str, Any]] = [
            container
            for container in client.containers(all=True, filters={"name": name_filter(name)})
            if f"/{name}" in (container.get("Names") or ())
        ]
        return found[0] if len(found) == 1 else None

    def _image_labels(self, client: Any, image: str) -> dict[str, str] | None:
        """An image never changes under its id, so that one look is enough."""
        known = self._images.get(image)
        if known is None and image:
            try:
                found = client.inspect_image(image)
            except _sdk().errors.NotFound:
                return None
            if len(self._images) >= _MOST_IMAGES:
                self._images.clear()
            digests = found.get("RepoDigests") or ()
            known = self._images[image] = labels_of_image((found.get("Config") or {}).get("Labels"), digests)
        return known

    @contextmanager
    def _client(self, timeout: float) -> Iterator[Any]:
        """A client of one's own for a while. What the SDK raises becomes NotFound or Unavailable."""
        try:
            client = self._clients.get_nowait()
        except queue.Empty:
            client = None
        try:
            if client is None:
                client = _sdk().APIClient(self._base_url, self._api_version, timeout=max(timeout, 0.001))
                client.trust_env = False  # looking for proxies costs more than the request
            client.timeout = max(timeout, 0.001)
            yield client
        except _sdk().errors.NotFound as error:
            raise NotFound(str(error)) from error
        except (_sdk().errors.DockerException, OSError) as error:
            if client is not None:
                client.close()
                client = None
            raise Unavailable(
                f"Docker does not answer: {error}", hint=f"is the engine at {self._base_url} running?"
            ) from error
        finally:
            if client is not None and self._clients.qsize() < _MOST_CLIENTS:
                self._clients.put(client)
            elif client is not None:
                client.close()

    def _watch(self, listener: Listener) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                self._connect()
            except Unavailable as error:
                log.debug("engine does not answer", error=error.message)
                self._wake.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            try:
                self._follow(listener)
            except Unavailable as error:
                log.info("lost the engine's events", error=error.message)
            self._went_down()

    def _connect(self) -> None:
        """Returns when the engine answers. Also learns its data root and API version."""
        with self._client(_PING_SECONDS) as client:
            client.ping()
            client.timeout = _PATIENCE_SECONDS
            information = client.info()
            self._api_version, self._version = client.api_version, information.get("ServerVersion", "")
            root = Path(information["DockerRootDir"])
        if root != self._root:
            self._root = root
            self._remember(root)
        self._up.set()

    def _went_down(self) -> None:
        self._up.clear()
        self._end_stream()  # the watching thread then begins anew with a ping

    def _end_stream(self) -> None:
        events = self._events
        if events is not None:
            # It may be ending by itself just now, and the SDK then trips over what is gone already.
            with suppress(OSError, AttributeError, ValueError):
                events.close()

    def _follow(self, listener: Listener) -> None:
        """Hand on events until the stream ends."""
        with self._client(_PATIENCE_SECONDS) as client:
            client.timeout = None  # silence is no failure here
            self._events = client.events(decode=True, filters={"type": _EVENT_TYPES})
            _call(listener.engine_up)
            try:
                for event in self._events:
                    kind, action = str(event.get("Type", "")), str(event.get("Action", ""))
                    identifier = str(event.get("Actor", {}).get("ID", ""))
                    if (kind, action) == ("container", "create"):
                        self._read_image_ahead(identifier)
                    if not action.startswith("exec_"):  # health checks run all the time
                        _call(listener.changed, kind, action, identifier)
            finally:
                self._events = None
        raise Unavailable("the stream of events ended")

    def _read_image_ahead(self, container: str) -> None:
        """Learn the labels of a new container's image now, so that its Join need not."""
        try:
            with self._client(BUDGET_SECONDS) as client:
                for found in client.containers(all=True, filters={"id": container}):
                    self._image_labels(client, found.get("ImageID") or "")
        except (NotFound, Unavailable) as error:
            log.debug("image labels not read ahead", error=error.message)


def _name_behind(network: Mapping[str, Any], endpoint_id: str) -> str | None:
    """The container's name in `GET /networks/{id}`. During Join the key is "ep-" and the endpoint's id, later the
    container's."""
    for member in (network.get("Containers") or {}).values():
        if member.get("EndpointID") == endpoint_id:
            return str(member["Name"]) or None
    return None


def _call(function: Callable[..., None], *arguments: str) -> None:
    try:
        function(*arguments)
    except Exception:
        log.exception("an event of the engine was not taken up")


def _sdk() -> Any:
    import docker

    return docker
