from __future__ import annotations

import pytest

from driver.facts import ContainerFacts, labels_of_image, name_filter
from driver.labelling import Labeller
from identity.labels import LabelFilter
from model.endpoint import Endpoint, EndpointState
from model.errors import CiliateError
from model.identity import Reserved
from model.labels import Labels
from model.network import Network

NETWORK = Network(docker_id="n", id="shop", number=2, subnets=(), labels=Labels.parse(["opt:stage=prod"]))
ENDPOINT = Endpoint(id=1, docker_id="e", network_id="n", mac="02:42:0a:c8:00:02")
FACTS = ContainerFacts("c1", "web", {"app": "web", "vendor": "x", "ciliate.tag": "blue"}, {"vendor": "x"})

LABELLER = Labeller(LabelFilter())


def texts(labels: Labels) -> set[str]:
    return set(labels.texts())


def label(endpoint: Endpoint = ENDPOINT, facts: ContainerFacts | None = FACTS) -> Endpoint:
    return LABELLER.label(endpoint, NETWORK, facts)


def test_a_container_that_is_known() -> None:
    found = label()
    assert (found.container_id, found.container_name, found.state) == ("c1", "web", EndpointState.READY)
    assert texts(found.labels) == {"container:app=web", "opt:stage=prod", "network:id=shop"}
    assert "image:vendor=x" in texts(found.info_labels)
    assert found.tags == ("blue",)


def test_a_container_that_is_not_known_is_init() -> None:
    found = label(facts=None)
    assert found.state is EndpointState.WAITING_FOR_LABELS
    assert found.identity == Reserved.INIT and len(found.labels) == 0


def test_labels_of_the_endpoint_win_by_key() -> None:
    given = Endpoint(
        id=1, docker_id="e", network_id="n", mac="", option_labels=Labels.parse(["opt:app=db", "opt:new=1"])
    )
    assert texts(label(given).labels) == {"opt:app=db", "opt:new=1", "opt:stage=prod", "network:id=shop"}


def test_labels_set_by_the_user_replace_the_containers() -> None:
    user = Endpoint(
        id=1, docker_id="e", network_id="n", mac="", user_labels=Labels.parse(["container:app=other"])
    )
    expected = {"container:app=other", "opt:stage=prod", "network:id=shop"}
    assert texts(label(user).labels) == expected
    assert label(user, None).state is EndpointState.READY
    assert texts(label(user, None).labels) == expected


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("ciliate.egress", "not available yet"),
        ("ciliate.labels", "not a label"),
        *(
            (key, "only ciliate gives")
            for key in ("network:id", "reserved:host", "cidr:10.0.0.0/8", "nomad:job")
        ),
    ],
)
def test_a_container_may_not_ask_for_what_cannot_be_but_its_image_is_not_heard(key: str, says: str) -> None:
    asked = {key: "a=b"}
    with pytest.raises(CiliateError, match=says):
        label(facts=ContainerFacts("c1", "web", asked, {}))
    assert label(facts=ContainerFacts("c1", "web", asked, asked)).state is EndpointState.READY


def test_what_looks_like_a_source_and_is_none_is_a_key() -> None:
    asked = {"example.com:app": "web", "opt:app": "x", "network": "y"}
    found = label(facts=ContainerFacts("c1", "web", asked, {}))
    assert {"container:example.com:app=web", "container:opt:app=x", "container:network=y"} < texts(
        found.labels
    )


def test_compose_stamps_on_images() -> None:
    stamps = {"com.docker.compose.project": "shop", "vendor": "x"}
    assert labels_of_image(stamps, []) == {"vendor": "x"}
    assert labels_of_image(stamps, ["im@sha256:0"]) == stamps
    assert labels_of_image(None, []) == {}


def test_names_are_found_exactly() -> None:
    assert name_filter("my.web") == r"^/my\.web$"
