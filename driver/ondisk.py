"""What Docker has written about its containers, for the time when its API does not answer: at boot the engine
starts the containers that restart always before it serves a single request.

The files are not a documented interface. A record counts only if everything agrees; any doubt is "not known"."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver.facts import ContainerFacts, labels_of_image
from model.endpoint import Endpoint

_INDEX_BYTES = 8
"""Before each value in the engine's database."""

_LARGEST_RECORD = 1 << 16
_IMAGE_ID = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class _Record:
    modified: int
    name: str
    id: str
    labels: dict[str, str]
    image: str


class OnDisk:
    """`root` answers the engine's data root, None if it is not known. Safe for many threads."""

    def __init__(self, root: Callable[[], Path | None]) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._records: dict[Path, _Record] = {}
        self._images: dict[str, dict[str, str]] = {}

    def name(self, endpoint: Endpoint) -> str | None:
        """The container's name when the endpoint was made. The record is there from Join on."""
        root = self._root()
        if root is None:
            return None
        try:
            database = (root / "network" / "files" / "local-kv.db").read_bytes()
        except OSError:
            return None
        return container_name(database, endpoint)

    def find(self, endpoint: Endpoint) -> ContainerFacts | None:
        root, name = self._root(), self.name(endpoint)
        if root is None or name is None:
            return None
        with self._lock:
            records = [record for record in self._containers(root) if record.name == f"/{name}"]
            if len(records) != 1:
                return None
            image_labels = self._image_labels(root, records[0].image)
        if image_labels is None:
            return None
        return ContainerFacts(records[0].id, name, records[0].labels, image_labels)

    def _containers(self, root: Path) -> Iterator[_Record]:
        paths = set((root / "containers").glob("*/config.v2.json"))
        for gone in self._records.keys() - paths:
            del self._records[gone]
        for path in paths:
            try:
                modified = path.stat().st_mtime_ns
                known = self._records.get(path)
                if known is None or known.modified != modified:
                    known = self._records[path] = _record(json.loads(path.read_bytes()), modified)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # being written, or of a format we do not know
            yield known

    def _image_labels(self, root: Path, image: str) -> dict[str, str] | None:
        if image not in self._images:
            found = _image_labels(root, image)
            if found is None:
                return None
            self._images[image] = found
        return self._images[image]


def container_name(database: bytes, endpoint: Endpoint) -> str | None:
    """The name in the record of this endpoint. The database keeps old copies of a page for a while; all copies
    that are whole must say the same, and name this endpoint's address."""
    names = set()
    key = f"endpoint/{endpoint.network_id}/{endpoint.docker_id}/".encode()
    decoder = json.JSONDecoder()
    start = database.find(key)
    while start >= 0:
        value = start + len(key) + _INDEX_BYTES
        start = database.find(key, value)
        if database[value : value + 1] != b"{":
            continue
        text = database[value : value + _LARGEST_RECORD].decode("utf-8", "replace")
        try:
            record = decoder.raw_decode(text)[0]
            if _is_of(record, endpoint):
                names.add(str(record["name"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # overwritten in part
    return names.pop() if len(names) == 1 else None


def _is_of(record: dict[str, Any], endpoint: Endpoint) -> bool:
    interface = record["ep_iface"]
    addresses = {str(interface.get(key) or "").partition("/")[0] for key in ("addr", "addrv6")}
    own = {str(address) for address in endpoint.addresses}
    return record["id"] == endpoint.docker_id and bool(record["name"]) and own <= addresses


def _record(config: dict[str, Any], modified: int) -> _Record:
    labels = config["Config"].get("Labels") or {}
    return _Record(modified, config["Name"], config["ID"], dict(labels), config.get("Image") or "")


def _image_labels(root: Path, image: str) -> dict[str, str] | None:
    """None if the image is not found. Its file's name is its hash, so that what is read is what was pulled."""
    match = _IMAGE_ID.fullmatch(image)
    if match is None:
        return None
    digest = match[1]
    for store in (root / "image").glob("*"):
        try:
            content = (store / "imagedb" / "content" / "sha256" / digest).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                continue
            labels = (json.loads(content).get("config") or {}).get("Labels")
            repositories = json.loads((store / "repositories.json").read_bytes())["Repositories"]
        except (OSError, ValueError, KeyError, AttributeError):
            continue
        digests = [
            reference
            for references in repositories.values()
            for reference, identifier in references.items()
            if identifier == image and "@" in reference
        ]
        return labels_of_image(labels, digests)
    return None
