"""From what a container says of itself to the labels that are its identity. PURE.

An image may come from anywhere, so what it says about itself identifies nobody. A container's owner may say
what he likes, except in the name of ciliate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from model.errors import InvalidInput
from model.labels import ANY, IMAGE, MADE_BY_CILIATE, Label, Labels, split_source

CONTAINER = "container"

DEFAULT_EXCLUDES = (
    "com.docker.",
    "com.hashicorp.nomad.",
    "ciliate.",
    "desktop.docker.io/",
    "io.buildah.",
    "io.podman.",
    "maintainer",
    "org.label-schema.",
    "org.opencontainers.",
)
"""Keys of build and deployment tools. What they say differs for each build or each container, and every difference
would be another identity."""

DERIVED = {
    "com.docker.compose.project": ("compose", "project"),
    "com.docker.compose.service": ("compose", "service"),
    "com.hashicorp.nomad.job_name": ("nomad", "job"),
    "com.hashicorp.nomad.job_id": ("nomad", "job"),
    "com.hashicorp.nomad.task_group_name": ("nomad", "group"),
    "com.hashicorp.nomad.task_name": ("nomad", "task"),
    "com.hashicorp.nomad.namespace": ("nomad", "namespace"),
}
"""What is made of the stamps of Compose and Nomad. Where two name one thing the later one wins: a job's id is
its own in its namespace, its name may be anything. Not read is `parent_job_id`, which Nomad's docker driver leaves
as the job's author wrote it where a job has no parent."""

_CHILD_JOB = re.compile(r"/(dispatch-([^/]+-)?[0-9]+-[0-9a-f]{8}|periodic-[0-9]+)\Z")
"""What Nomad appends to the parent's name: a time, and for a dispatched job a random end."""


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """Which labels make an identity. A word is a prefix of `source:key`, or of the key alone, and then about
    containers' own labels; the longest one that matches decides. Where none does, an image's labels are left out;
    what an option gives or ciliate derives is taken in, and so are a container's own, unless words say which.
    To take in an image's label a word has to name the source: no image gets in under a container's word."""

    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = DEFAULT_EXCLUDES

    @classmethod
    def parse(cls, words: Iterable[str]) -> LabelFilter:
        """Of CILIATE_LABELS, in addition to the default."""
        chosen = list(words)
        if "!" in chosen:
            raise InvalidInput("'!' excludes nothing", path="CILIATE_LABELS", hint="write !prefix")
        excludes = tuple(word[1:] for word in chosen if word.startswith("!"))
        return cls(tuple(word for word in chosen if not word.startswith("!")), DEFAULT_EXCLUDES + excludes)

    def keeps(self, label: Label) -> bool:
        included = _longest(self.includes, label, bare=label.source == CONTAINER)
        excluded = _longest(self.excludes, label, bare=label.source in (CONTAINER, IMAGE))
        if included < 0 and excluded < 0:
            return label.source != IMAGE and not (label.source == CONTAINER and self.includes)
        return included >= excluded


def _longest(words: Iterable[str], label: Label, *, bare: bool) -> int:
    """How much of the key the longest word that matches covers, -1 if none does. A source alone covers nothing.
    `bare`: words without a source count too."""
    start = f"{label.source}:"
    covered = [-1]
    for word in words:
        if word.startswith(start) and label.key.startswith(word.removeprefix(start)):
            covered.append(len(word) - len(start))
        elif bare and label.key.startswith(word):
            covered.append(len(word))
    return max(covered)


def derive(
    container: Mapping[str, str],
    image: Mapping[str, str],
    options: Labels,
    network_labels: Labels,
    network_id: str,
    label_filter: LabelFilter,
) -> tuple[Labels, Labels]:
    """The labels of the identity, and those that are only shown.

    `container`: what Docker reports, in which the image's labels are mixed; `image`: the image's own. One that has
    the image's value is the image's, for all anybody can tell. A key in the name of ciliate is not believed."""
    from_image = {key: value for key, value in container.items() if key and image.get(key) == value}
    own = {key: value for key, value in container.items() if key and key not in from_image}
    believed = Labels.of(
        CONTAINER, {key: own[key] for key in own if split_source(key)[0] not in MADE_BY_CILIATE}
    )
    given = network_labels | options
    overruled = {label.key for label in given if label_filter.keeps(label)}
    said = believed | given | derived(own) | Labels.of(IMAGE, from_image)
    kept = Labels(
        label
        for label in said
        if label_filter.keeps(label) and not (label.source == CONTAINER and label.key in overruled)
    )
    shown = Labels(label for label in said if label not in kept)
    return kept | Labels([Label("network", "id", network_id)]), shown


def derived(own: Mapping[str, str]) -> Labels:
    """`compose:` and `nomad:` labels. A dispatched or periodic Nomad job counts as its parent."""
    found: dict[tuple[str, str], str] = {}
    for key, name in DERIVED.items():
        value = own.get(key)
        if value:
            found[name] = _parent_job(value) if name == ("nomad", "job") else value
    return Labels(Label(source, key, value) for (source, key), value in found.items())


def _parent_job(job: str) -> str:
    return _CHILD_JOB.sub("", job)


def parse_user_labels(texts: Iterable[str]) -> Labels:
    """Labels set through the API: `[source:]key[=value]`, `container` when no source is named."""
    listed = [
        replace(label, source=CONTAINER) if label.source == ANY else label
        for label in map(Label.parse, texts)
    ]
    labels = Labels(listed)
    for label in listed:
        if label not in labels:
            raise InvalidInput(
                f"{label.source}:{label.key} has two values", path="labels", hint="keep one of them"
            )
        if label.source in MADE_BY_CILIATE or label.source == IMAGE:
            raise InvalidInput(
                f"{label}: only ciliate gives labels of the source {label.source!r}",
                path="labels",
                hint=f"write {CONTAINER}:{label.key}={label.value}",
            )
    return labels
