"""From what is known about a container to what its endpoint is called. PURE."""

from __future__ import annotations

from dataclasses import replace

from driver.facts import ContainerFacts
from driver.options import refuse_labels, tag_labels
from identity.labels import LabelFilter, derive
from model.endpoint import Endpoint, EndpointState
from model.identity import Reserved
from model.labels import Labels
from model.network import Network


class Labeller:
    """`filter_` decides which labels make an identity."""

    def __init__(self, filter_: LabelFilter) -> None:
        self._filter = filter_

    def label(self, endpoint: Endpoint, network: Network, facts: ContainerFacts | None) -> Endpoint:
        """The endpoint with its names, labels and tags. It is READY, and then its identity is for the caller to
        find; or, without facts, waiting with the identity init. Raises InvalidInput or Unsupported if the
        container asks by label for what nobody knows or what is not built yet, or speaks in the name of ciliate. Its
        image cannot ask for anything."""
        if facts is None and endpoint.user_labels is None:
            return unnamed(endpoint)
        if facts is not None:
            own = {key: value for key, value in facts.labels.items() if facts.image_labels.get(key) != value}
            refuse_labels(own)
            tags = tuple(dict.fromkeys((*endpoint.tags, *tag_labels(own))))
            endpoint = replace(endpoint, container_id=facts.id, container_name=facts.name, tags=tags)
        replaced = endpoint.user_labels is not None
        labels, info_labels = derive(
            {} if facts is None or replaced else facts.labels,
            {} if facts is None or replaced else facts.image_labels,
            endpoint.option_labels,
            network.labels,
            network.id,
            self._filter,
        )
        return replace(
            endpoint,
            labels=labels | (endpoint.user_labels or Labels()),
            info_labels=info_labels,
            state=EndpointState.READY,
        )


def unnamed(endpoint: Endpoint) -> Endpoint:
    """In force, and denied everything until its labels and their identity are known."""
    return replace(
        endpoint,
        state=EndpointState.WAITING_FOR_LABELS,
        identity=int(Reserved.INIT),
        labels=Labels(),
    )
