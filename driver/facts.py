"""What is known about a container, whoever told it. PURE."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from model.endpoint import Endpoint

COMPOSE_PREFIX = "com.docker.compose."


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """`image_labels`: those that the image brought. A container whose image is not known has no facts: nobody
    could say which of its labels an untrusted image gave it."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    image_labels: Mapping[str, str] = field(default_factory=dict)


class ContainerSource(Protocol):
    def find(self, endpoint: Endpoint) -> ContainerFacts | None:
        """Who stands behind an endpoint, within 400 ms; None: not known now."""


def labels_of_image(labels: Mapping[str, str] | None, repository_digests: Collection[str]) -> dict[str, str]:
    """Compose stamps the images that it builds here with its project and service. An image with a repository
    digest came from elsewhere, and its stamps are worth as much as any text in it; those of an image built here
    count as the container's."""
    own = labels or {}
    if repository_digests:
        return dict(own)
    return {key: value for key, value in own.items() if not key.startswith(COMPOSE_PREFIX)}


def name_filter(name: str) -> str:
    """The pattern that finds exactly this container in a filtered list."""
    return f"^/{re.escape(name)}$"
