"""What all networks together need of the host."""

from __future__ import annotations

from collections.abc import Callable, Collection

from driver.accept import Acceptance
from driver.hostfacts import HostFacts
from driver.links import Links
from driver.nft import Nft
from driver.sysctls import Sysctls
from model.network import Network


class Host:
    """Forwarding, the gateways' addresses, masquerade, accept rules. `facts` answers what is known of the host."""

    def __init__(
        self, links: Links, nft: Nft, sysctls: Sysctls, acceptance: Acceptance, facts: Callable[[], HostFacts]
    ) -> None:
        self._links = links
        self._nft = nft
        self._sysctls = sysctls
        self._acceptance = acceptance
        self.facts = facts

    def serve(self, networks: Collection[Network]) -> None:
        """Fit the host to exactly these networks. Repeatable. Raises Unavailable."""
        subnets = [subnet for network in networks for subnet in network.subnets]
        versions = {subnet.pool.version for subnet in subnets}
        self._sysctls.forward(ipv4=4 in versions, ipv6=6 in versions, uplinks=self.facts().uplinks.values())
        self._links.set_gateways({subnet.gateway for subnet in subnets if subnet.gateway is not None})
        self._nft.set_subnets(subnets)
        self._acceptance.set_active(bool(networks))

    def keep(self) -> None:
        """Put right what somebody else may have undone: flushed tables, an engine that made its chains anew.
        Cheap. Raises Unavailable."""
        self._nft.check()
        self._acceptance.ensure()
