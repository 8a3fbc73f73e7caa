"""The engine's files, read while its API does not answer. Only a record about which everything agrees counts."""

from __future__ import annotations

import hashlib
import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from driver.facts import ContainerFacts
from driver.ondisk import OnDisk, container_name
from model.endpoint import Endpoint

NETWORK, ENDPOINT = "n" * 64, "e" * 64
WEB = Endpoint(
    id=1, docker_id=ENDPOINT, network_id=NETWORK, mac="02:42:0a:4d:00:32", ipv4=IPv4Address("10.77.0.50")
)


def record(name: str = "web", endpoint: str = ENDPOINT, address: str = "10.77.0.50/24") -> bytes:
    """An endpoint's record as libnetwork writes it: key, index, JSON."""
    value = {
        "ep_iface": {"addr": address, "mac": "02:42:0a:4d:00:32"},
        "id": endpoint,
        "name": name,
        "sandbox": "",
    }
    key = f"docker/network/v1.0/endpoint/{NETWORK}/{endpoint}/".encode()
    return key + bytes([0, 0, 0, 0, 0, 0, 0, 9]) + json.dumps(value).encode()


class Engine:
    """A data root with the files that are read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "network" / "files").mkdir(parents=True)
        (root / "image" / "overlay2" / "imagedb" / "content" / "sha256").mkdir(parents=True)
        self.repositories: dict[str, dict[str, str]] = {}
        self.image("plain", {})
        self.database(b"\0\1bolt" + record() + b"\0\0")

    def database(self, content: bytes) -> None:
        (self.root / "network" / "files" / "local-kv.db").write_bytes(content)

    def image(self, name: str, labels: dict[str, str], *, digest: bool = False) -> str:
        content = json.dumps({"config": {"Labels": labels}, "name": name}).encode()
        number = hashlib.sha256(content).hexdigest()
        store = self.root / "image" / "overlay2"
        (store / "imagedb" / "content" / "sha256" / number).write_bytes(content)
        references = {f"{name}:latest": f"sha256:{number}"}
        if digest:
            references[f"{name}@sha256:{'d' * 64}"] = f"sha256:{number}"
        self.repositories[name] = references
        (store / "repositories.json").write_text(json.dumps({"Repositories": self.repositories}))
        return f"sha256:{number}"

    def container(self, name: str, labels: dict[str, str], image: str | None = None) -> None:
        directory = self.root / "containers" / f"id-of-{name}-{len(labels)}"
        directory.mkdir(parents=True)
        content: dict[str, Any] = {
            "ID": f"id-of-{name}",
            "Name": f"/{name}",
            "Config": {"Labels": labels},
            "Image": image or self.image("plain", {}),
        }
        (directory / "config.v2.json").write_text(json.dumps(content))

    def find(self) -> ContainerFacts | None:
        return OnDisk(lambda: self.root).find(WEB)


def test_labels_of_the_container_behind_an_endpoint(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.container("other", {"app": "other"})
    engine.container("web", {"app": "web"}, engine.image("im", {"vendor": "x"}))
    assert engine.find() == ContainerFacts("id-of-web", "web", {"app": "web"}, {"vendor": "x"})


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.container("web", {"app": "web"})
    known = OnDisk(lambda: tmp_path)
    assert known.find(WEB) is not None
    path = next(tmp_path.glob("containers/*/config.v2.json"))
    path.write_text(path.read_text().replace('"app": "web"', '"app": "new"'))
    facts = known.find(WEB)
    assert facts is not None and facts.labels == {"app": "new"}


def test_compose_stamps_of_images_from_elsewhere_are_the_images(tmp_path: Path) -> None:
    stamps = {"com.docker.compose.project": "shop", "vendor": "x"}
    engine = Engine(tmp_path)
    engine.container("web", stamps, engine.image("built", stamps))
    facts = engine.find()
    assert facts is not None and facts.image_labels == {"vendor": "x"}
    pulled = Engine(tmp_path / "pulled")
    pulled.container("web", stamps, pulled.image("pulled", stamps, digest=True))
    facts = pulled.find()
    assert facts is not None and facts.image_labels == stamps


def test_doubts_are_not_answers(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    assert engine.find() is None, "no such container"
    engine.container("web", {"app": "web"})
    engine.container("web", {"app": "evil", "more": "labels"})
    assert engine.find() is None, "two containers of one name"
    assert OnDisk(lambda: None).find(WEB) is None, "no data root is known"
    assert OnDisk(lambda: tmp_path / "nowhere").find(WEB) is None


def test_an_image_that_is_not_what_it_says(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    image = engine.image("im", {"role": "ok"})
    engine.container("web", {}, image)
    stored = next(tmp_path.glob(f"image/*/imagedb/content/sha256/{image.removeprefix('sha256:')}"))
    stored.write_bytes(stored.read_bytes().replace(b"ok", b"no"))
    assert engine.find() is None
    for odd in ("../../../etc/passwd", "sha256:../x", ""):
        other = Engine(tmp_path / f"other{len(odd)}")
        other.container("web", {}, odd or "none")
        assert other.find() is None


def test_old_copies_of_a_record() -> None:
    whole = record()
    torn = record("gone")[:-20] + b"\0" * 20
    assert container_name(whole + b"\0" * 100 + whole, WEB) == "web"
    assert container_name(torn + whole, WEB) == "web", "an overwritten copy says nothing"
    assert container_name(whole + record("other"), WEB) is None, "two whole copies that disagree"
    assert container_name(record(address="10.77.0.51/24"), WEB) is None, "the address is another's"
    assert container_name(record(endpoint="f" * 64), WEB) is None
    assert container_name(record(name=""), WEB) is None
    assert container_name(b"", WEB) is None
    assert container_name(whole[:-1], WEB) is None
