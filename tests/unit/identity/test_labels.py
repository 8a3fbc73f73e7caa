"""Which of a container's labels say who it is, which are only shown, and which nobody believes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.labels import LabelFilter, derive, parse_user_labels
from model.errors import InvalidInput
from model.labels import MADE_BY_CILIATE, Label, Labels, split_source


class Story:
    """What is found out about one container; `identity` and `shown` as texts."""

    def __init__(
        self,
        container: Mapping[str, str],
        image: Mapping[str, str] | None = None,
        *,
        options: Labels = Labels(),  # noqa: B008
        network: Labels = Labels(),  # noqa: B008
        words: str = "",
    ) -> None:
        labels, info = derive(
            {**(image or {}), **container},
            image or {},
            options,
            network,
            "shop",
            LabelFilter.parse(words.split()),
        )
        self.identity = set(labels.texts()) - {"network:id=shop"}
        assert "network:id=shop" in labels.texts()
        self.shown = set(info.texts())


def opt(*texts: str) -> Labels:
    return Labels.parse(texts, default_source="opt")


def test_a_container_is_what_its_owner_says() -> None:
    assert Story({"app": "web", "empty": ""}).identity == {"container:app=web", "container:empty"}


def test_without_labels_only_the_network_identifies() -> None:
    assert Story({}).identity == set()


def test_an_image_identifies_nobody() -> None:
    story = Story({}, {"app": "payments", "ciliate.tag": "x"})
    assert story.identity == set()
    assert story.shown == {"image:app=payments", "image:ciliate.tag=x"}


def test_the_owner_may_contradict_the_image() -> None:
    story = Story({"app": "web"}, {"app": "base", "vendor": "x"})
    assert story.identity == {"container:app=web"}
    assert story.shown == {"image:vendor=x"}


def test_an_image_cannot_pose_as_a_service_of_compose_or_a_job_of_nomad() -> None:
    stamps = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "db",
        "com.hashicorp.nomad.job_name": "db",
        "com.hashicorp.nomad.namespace": "prod",
    }
    assert Story({}, stamps).identity == set()
    assert Story(stamps).identity == {
        "compose:project=shop",
        "compose:service=db",
        "nomad:job=db",
        "nomad:namespace=prod",
    }


def test_what_nomad_says_of_a_task() -> None:
    story = Story(
        {
            "com.hashicorp.nomad.alloc_id": "5f1e",
            "com.hashicorp.nomad.job_id": "web",
            "com.hashicorp.nomad.namespace": "prod",
            "com.hashicorp.nomad.task_group_name": "front",
            "com.hashicorp.nomad.task_name": "nginx",
            "com.hashicorp.nomad.node_id": "77",
        }
    )
    assert story.identity == {
        "nomad:job=web",
        "nomad:namespace=prod",
        "nomad:group=front",
        "nomad:task=nginx",
    }
    assert "container:com.hashicorp.nomad.alloc_id=5f1e" in story.shown


@pytest.mark.parametrize(
    ("job", "parent"),
    [
        ("batch", "batch"),
        ("batch/dispatch-1485379325-cb38d00d", "batch"),
        ("batch/dispatch-nightly-1485379325-cb38d00d", "batch"),
        ("batch/periodic-1485379325", "batch"),
        ("batch/dispatch-center", "batch/dispatch-center"),
        ("batch/periodic-1485379325/x", "batch/periodic-1485379325/x"),
        ("a/dispatch-b/dispatch-1485379325-cb38d00d", "a/dispatch-b"),
    ],
)
def test_a_dispatched_or_periodic_job_counts_as_its_parent(job: str, parent: str) -> None:
    for stamp in ("job_id", "job_name"):
        assert Story({f"com.hashicorp.nomad.{stamp}": job}).identity == {f"nomad:job={parent}"}


def test_a_job_is_known_by_its_id_whatever_it_calls_itself() -> None:
    """Nomad gives an id once in a namespace; the name, and the parent of a job that has none, are free text."""
    story = Story(
        {
            "com.hashicorp.nomad.job_name": "payments",
            "com.hashicorp.nomad.parent_job_id": "payments",
            "com.hashicorp.nomad.job_id": "guest/periodic-1485379325",
        }
    )
    assert story.identity == {"nomad:job=guest"}


def test_labels_of_tools_would_make_every_build_another_identity() -> None:
    labels = {
        "org.opencontainers.image.revision": "1f3a",
        "org.label-schema.build-date": "today",
        "desktop.docker.io/binds/0/Source": "/x",
        "com.docker.compose.container-number": "3",
        "com.hashicorp.nomad.alloc_id": "5f1e",
        "ciliate.tag": "blue",
    }
    story = Story(labels)
    assert story.identity == set()
    assert story.shown == {f"container:{key}={value}" for key, value in labels.items()}


def test_options_win_over_the_network_and_both_over_the_container_key_by_key() -> None:
    story = Story({"app": "web", "tier": "a"}, options=opt("app=db"), network=opt("app=any", "stage=prod"))
    assert story.identity == {"opt:app=db", "opt:stage=prod", "container:tier=a"}
    assert story.shown == {"container:app=web"}


def test_nobody_speaks_in_the_name_of_ciliate() -> None:
    keys = [
        "reserved:host",
        "cidr:10.0.0.0/8",
        "fqdn:example.com",
        "network:id",
        "compose:service",
        "nomad:job",
    ]
    story = Story({**dict.fromkeys(keys, "x"), "app": "web"})
    assert story.identity == {"container:app=web"}
    assert story.shown == set()


def test_a_key_with_a_colon_is_a_key() -> None:
    story = Story({"example.com:app": "web", "opt:app": "db"})
    assert story.identity == {"container:example.com:app=web", "container:opt:app=db"}


def test_a_label_without_a_key_is_none() -> None:
    assert Story({"": "x"}).identity == set()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", {"app", "app.version", "build"}),
        ("!build", {"app", "app.version"}),
        ("!container:app", {"build"}),
        ("app", {"app", "app.version"}),
        ("container:app", {"app", "app.version"}),
        ("app !app.version", {"app"}),
        ("!app app.version", {"app.version"}),
        ("container: !app", {"build"}),
        ("container: !app.version", {"app", "build"}),
        ("com.docker.compose.oneoff", {"com.docker.compose.oneoff"}),
        ("container:", {"app", "app.version", "build"}),
        ("contain", set()),
        ("image:app", set()),
    ],
)
def test_the_longest_word_decides(words: str, kept: set[str]) -> None:
    container = dict.fromkeys(
        ["app", "app.version", "build", "com.docker.compose.oneoff", "ciliate.tag"], "1"
    )
    assert Story(container, words=words).identity == {f"container:{key}=1" for key in kept}


def test_words_without_a_source_are_about_containers_own_labels() -> None:
    story = Story(
        {"com.docker.compose.service": "db", "com.hashicorp.nomad.task_name": "t", "app": "web"},
        {"vendor": "x"},
        options=opt("role=ok"),
        words="tier !role !service vendor",
    )
    assert story.identity == {"compose:service=db", "nomad:task=t", "opt:role=ok"}


def test_a_word_with_a_source_takes_out_what_options_give_and_ciliate_derives() -> None:
    """Say, one identity for all tasks of a group, to have fewer."""
    story = Story(
        {"com.hashicorp.nomad.task_group_name": "g", "com.hashicorp.nomad.task_name": "t", "role": "no"},
        options=opt("role=ok", "stage=prod"),
        words="!nomad:task !opt:role",
    )
    assert story.identity == {"nomad:group=g", "opt:stage=prod", "container:role=no"}
    assert {"nomad:task=t", "opt:role=ok"} <= story.shown


def test_the_network_identifies_whatever_the_words_say() -> None:
    assert Story({"app": "web"}, words="!network: !network:id !container:").identity == set()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", set()),
        ("vendor", set()),
        ("image:", {"image:vendor=x", "image:vendor.city=y"}),
        ("image:vendor !image:vendor.city", {"image:vendor=x"}),
        ("image:org.opencontainers.", {"image:org.opencontainers.image.title=z"}),
    ],
)
def test_an_images_labels_identify_where_a_word_names_them_as_such(words: str, kept: set[str]) -> None:
    """Selectors still have to write `image:` to mean them."""
    image = {"vendor": "x", "vendor.city": "y", "org.opencontainers.image.title": "z"}
    story = Story({}, image, words=words)
    assert story.identity == kept
    assert len(story.shown) == len(image) - len(kept)


def test_a_word_that_says_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="CILIATE_LABELS"):
        LabelFilter.parse(["app", "!"])


def test_labels_set_by_hand() -> None:
    labels = parse_user_labels(["app=web", "any:tier=a", "opt:role=ok", "example.com:x"])
    assert set(labels.texts()) == {
        "container:app=web",
        "container:tier=a",
        "opt:role=ok",
        "container:example.com:x",
    }


def test_by_hand_one_value_for_each_label() -> None:
    assert len(parse_user_labels(["app=web", "any:app=web"])) == 1
    with pytest.raises(InvalidInput, match="container:app has two values"):
        parse_user_labels(["app=web", "app=db"])


@pytest.mark.parametrize("source", [*sorted(MADE_BY_CILIATE), "image"])
def test_by_hand_neither_ciliates_sources_nor_the_images(source: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_user_labels([f"{source}:app=web"])
    assert caught.value.path == "labels" and "container:app=web" in caught.value.hint


KEYS = st.sampled_from(
    [
        "app",
        "tier",
        "reserved:host",
        "network:id",
        "opt:app",
        "com.docker.compose.service",
        "ciliate.tag",
        "x:y",
        "",
    ]
)
SAID = st.dictionaries(KEYS, st.sampled_from(["", "a", "b"]))
GIVEN = st.dictionaries(st.sampled_from(["app", "tier", "role"]), st.sampled_from(["a", "b"]))


@settings(max_examples=200, deadline=None)
@given(
    container=SAID,
    image=SAID,
    options=GIVEN,
    network=GIVEN,
    words=st.sampled_from(["", "app", "!app", "opt:"]),
)
def test_whatever_is_said(
    container: dict[str, str],
    image: dict[str, str],
    options: dict[str, str],
    network: dict[str, str],
    words: str,
) -> None:
    reported = {**image, **container}
    labels, info = derive(
        reported,
        image,
        Labels.of("opt", options),
        Labels.of("opt", network),
        "shop",
        LabelFilter.parse(words.split()),
    )
    own = {key for key, value in reported.items() if image.get(key) != value}
    assert labels.with_key("id") == [Label("network", "id", "shop")]
    assert {label.source for label in labels} <= {"container", "opt", "compose", "network"}
    assert {label.key for label in labels if label.source == "container"} <= own
    assert {label.key: label.value for label in labels if label.source == "opt"} == {**network, **options}
    assert all(split_source(label.key)[0] not in MADE_BY_CILIATE for label in labels)
    assert not set(labels) & set(info)
    assert {label.source for label in info} <= {"container", "image"}
