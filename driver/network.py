"""What Docker asks of a network driver, as use cases.

Each can be repeated: dockerd sends a call again when the agent died over it. Each does all it should or leaves
nothing behind. Each ends within 5 s, because everything it waits for has a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from driver.facts import ContainerFacts, ContainerSource
from driver.host import Host
from driver.labelling import Labeller, unnamed
from driver.linkpool import LinkPool
from driver.links import Links
from driver.locks import NamedLocks
from driver.options import (
    NO_IPV6,
    PORT_MAP,
    SMALLEST_MTU6,
    endpoint_options,
    network_options,
    port_bindings,
)
from driver.plan import LinkPlan, checked_mac, endpoint_mac, gateways, link_plan
from driver.ports import Ports
from driver.realm import Realm
from driver.schema import EndpointRequest, NetworkRequest
from model.endpoint import Endpoint, EndpointState
from model.errors import CiliateError, Conflict, Exhausted, InvalidInput, NotFound, Unavailable, Unsupported
from model.labels import Labels
from model.network import FLAT, FLAT_ID, IPAddress, Network, overlap

log = structlog.get_logger("driver")


@dataclass(frozen=True, slots=True)
class Joined:
    """`interface`: what Docker shall move into the container. An internal network has no gateway, and Docker adds
    none of its own to it."""

    interface: str
    gateway: IPAddress | None
    gateway6: IPAddress | None


@dataclass(frozen=True, slots=True)
class Defaults:
    """Where a network says nothing. `mtu` 0: the uplinks', less the `overhead` of the way to other nodes."""

    flat: bool = False
    mtu: int = 0
    overhead: int = 0


class Networks:
    """Safe for many threads. `attach` puts the datapath's programs on a host-side interface, given its ifindex;
    it is called before the interface is up, and again for every interface found at start."""

    def __init__(
        self,
        realm: Realm,
        links: Links,
        host: Host,
        ports: Ports,
        containers: ContainerSource,
        labeller: Labeller,
        attach: Callable[[int], None],
        defaults: Defaults,
    ) -> None:
        self._realm = realm
        self._links = links
        self._pool = LinkPool(links, attach)
        self._host = host
        self._ports = ports
        self._containers = containers
        self._labeller = labeller
        self._attach = attach
        self._defaults = defaults
        self._networks_lock = threading.Lock()
        self._endpoint_locks = NamedLocks()
        self._sandboxes: dict[str, str] = {}
        self._holders: dict[IPAddress, str] = {}
        self._refused: dict[str, CiliateError] = {}
        self._last_change = 0.0

    @property
    def last_change(self) -> float:
        """When an endpoint last came or went, by time.monotonic()."""
        return self._last_change

    def restore(self) -> list[str]:
        """At start: go on with what is recorded, and make the host agree with it. Answers a sentence for each
        thing that could not be had again; none of them is a reason not to start."""
        lost: list[str] = []
        present = self._links.present()
        networks = self._realm.networks()
        linked = []
        for endpoint in list(self._realm.endpoints().values()):
            self._holders |= dict.fromkeys(endpoint.addresses, endpoint.docker_id)
            if endpoint.ifindex == 0:
                continue
            if endpoint.network_id in networks and present.get(endpoint.ifname) == endpoint.ifindex:
                del present[endpoint.ifname]
                linked.append(endpoint)
            else:
                # The host was restarted, or the link was removed: Docker makes it anew or forgets it.
                self._realm.put_endpoint(endpoint.unlinked())
        subnets = [subnet for network in networks.values() for subnet in network.subnets]
        try:
            lost += self._ports.start(subnets, linked)
            self._serve_all()
        except CiliateError as error:
            lost.append(str(error))
        for endpoint in linked:
            try:
                self._fit(endpoint)
            except (CiliateError, OSError) as error:
                lost.append(f"interface {endpoint.ifname} of {endpoint.container_name}: {error}")
        for ifindex in present.values():
            self._pool.retire(ifindex)
        self._pool.start()
        return lost

    def close(self) -> None:
        """Links and all stay as they are."""
        self._pool.close()

    def mend(self, before: Endpoint) -> None:
        """A link that was found without its programs gets them back, or goes down until it can have them."""
        with self._endpoint_locks.held(before.docker_id):
            endpoint = self._realm.endpoints().get(before.docker_id)
            if endpoint is None or endpoint.ifindex != before.ifindex:
                return  # it has ended meanwhile
            try:
                self._fit(endpoint)
                log.warning("a link had lost its programs", interface=endpoint.ifname)
            except (CiliateError, OSError) as error:
                log.error("a link without programs is down", interface=endpoint.ifname, reason=str(error))

    def create_network(self, request: NetworkRequest) -> None:
        options = network_options(request.options)
        _check_subnets(request, options.internal, options.mtu or self._defaults.mtu)
        flat = options.flat if options.flat is not None else self._defaults.flat and options.id is None
        with self._networks_lock:
            known = self._realm.networks()
            _check_overlap(request, known.values())
            spanning = [network for network in known.values() if network.id == options.id]
            identity = FLAT_ID if flat else options.id or request.network_id
            _check_enforcement(request, identity, options.enforcement_always, known.values())
            if flat:
                number = FLAT
            elif spanning:
                number = spanning[0].number
            elif options.id:
                number = self._realm.network_number(options.id)
            else:
                number = self._realm.new_network_number()
            network = Network(
                docker_id=request.network_id,
                id=identity,
                number=number,
                subnets=request.subnets,
                internal=options.internal,
                flat=flat,
                enforcement_always=options.enforcement_always,
                host=options.host,
                world=options.world,
                inter_container=options.inter_container,
                mtu=options.mtu,
                publish_ip=options.publish_ip,
                labels=options.labels,
            )
            self._realm.put_network(network)
            try:
                self._serve_all()
            except BaseException:
                self._realm.remove_network(network.docker_id)
                _quietly(self._serve_all)
                raise

    def delete_network(self, network_id: str) -> None:
        """With endpoints that Docker has forgotten. No error if the network is not known."""
        for endpoint in list(self._realm.endpoints().values()):
            if endpoint.network_id == network_id:
                self.delete_endpoint(endpoint.docker_id)
        with self._networks_lock:
            self._realm.remove_network(network_id)
            self._serve_all()
        self._pool.settle()

    def create_endpoint(self, request: EndpointRequest) -> str:
        """Answers the MAC address."""
        network = self._network(request.network_id)
        options = endpoint_options(request.options)
        port_bindings(request.options)  # what cannot be published is refused before anything is made
        addresses = [address for address in (request.ipv4, request.ipv6) if address is not None]
        if not addresses:
            raise InvalidInput(
                "the endpoint has no address",
                path="Interface.Address",
                hint="create the network with a subnet",
            )
        for address in addresses:
            if not any(address in subnet.pool for subnet in network.subnets):
                raise InvalidInput(f"{address} is not in a subnet of the network", path="Interface.Address")
        mac = checked_mac(request.mac) if request.mac else endpoint_mac(request.endpoint_id, request.ipv4)
        self._drop_holders(request, addresses)
        self._last_change = time.monotonic()
        with self._endpoint_locks.held(request.endpoint_id):
            again = self._realm.endpoints().get(request.endpoint_id)
            self._realm.put_endpoint(
                Endpoint(
                    id=again.id if again is not None else self._realm.new_endpoint_id(),
                    docker_id=request.endpoint_id,
                    network_id=request.network_id,
                    mac=mac,
                    ipv4=request.ipv4,
                    ipv6=request.ipv6,
                    option_labels=options.labels,
                    tags=options.tags,
                )
            )
            self._holders |= dict.fromkeys(addresses, request.endpoint_id)
        return mac

    def delete_endpoint(self, endpoint_id: str) -> None:
        """No error if it is not known."""
        self._last_change = time.monotonic()
        with self._endpoint_locks.held(endpoint_id):
            endpoint = self._realm.endpoints().get(endpoint_id)
            if endpoint is not None:
                self._ports.revoke(endpoint)
                self._realm.remove_endpoint(endpoint_id)
                if endpoint.ifindex:
                    self._pool.retire(endpoint.ifindex)
                for address in endpoint.addresses:
                    if self._holders.get(address) == endpoint_id:
                        del self._holders[address]
            self._sandboxes.pop(endpoint_id, None)
            self._refused.pop(endpoint_id, None)

    def endpoint_information(self, endpoint_id: str) -> dict[str, object]:
        self._endpoint(endpoint_id)
        return {}

    def join(self, request: EndpointRequest) -> Joined:
        """Docker moves the interface only after the answer, so that what is in force then is in force before the
        container's first packet."""
        with self._endpoint_locks.held(request.endpoint_id):
            endpoint = self._endpoint(request.endpoint_id)
            network = self._network(endpoint.network_id)
            endpoint = self._label(endpoint, network, self._containers.find(endpoint))
            plan = self._plan(endpoint, network)
            ifindex = self._pool.obtain(plan)
            try:
                self._links.open(plan, ifindex)
                joined = replace(
                    endpoint,
                    ifname=plan.host_name,
                    ifindex=ifindex,
                    wants_ports=bool(request.options.get(PORT_MAP)),
                )
                try:
                    joined = self._identified(joined)
                except Unavailable as error:
                    # It starts all the same, denied everything: who cannot be named now is named later.
                    log.warning("a container waits for its identity", reason=str(error))
                    joined = unnamed(joined)
                self._realm.put_endpoint(joined)
            except BaseException:
                self._pool.retire(ifindex)
                raise
            self._sandboxes[request.endpoint_id] = request.sandbox
        found = {} if network.internal else gateways(network)
        return Joined(
            interface=plan.container_name,
            gateway=found.get(4) if endpoint.ipv4 is not None else None,
            gateway6=found.get(6) if endpoint.ipv6 is not None else None,
        )

    def leave(self, endpoint_id: str) -> None:
        """No error if it is not known."""
        with self._endpoint_locks.held(endpoint_id):
            endpoint = self._realm.endpoints().get(endpoint_id)
            if endpoint is None:
                return
            self._ports.revoke(endpoint)
            self._realm.put_endpoint(endpoint.unlinked())
            if endpoint.ifindex:
                self._pool.retire(endpoint.ifindex)
            self._sandboxes.pop(endpoint_id, None)
            self._refused.pop(endpoint_id, None)

    def publish(self, request: EndpointRequest) -> None:
        """The port map of ProgramExternalConnectivity, in place of what was published before."""
        bindings = port_bindings(request.options)
        with self._endpoint_locks.held(request.endpoint_id):
            endpoint = self._endpoint(request.endpoint_id)
            if not bindings and not endpoint.ports:
                return
            if endpoint.ifindex == 0:
                raise Conflict("ports of an endpoint that has not joined cannot be published")
            network = self._network(endpoint.network_id)
            ports = self._ports.publish(
                endpoint,
                bindings,
                publish_ip=network.publish_ip,
                sandbox=self._sandboxes.get(request.endpoint_id, ""),
                ipv6=not request.options.get(NO_IPV6),
            )
            try:
                ipv6 = any(port.host_ip.version == 6 for port in ports)
                self._links.allow_loopback(endpoint.ifname, endpoint.ifindex, ipv6=ipv6)
                self._realm.put_endpoint(replace(endpoint, ports=ports))
            except BaseException:
                self._ports.revoke(endpoint)
                raise

    def revoke(self, endpoint_id: str) -> None:
        """No error if it is not known or publishes nothing."""
        with self._endpoint_locks.held(endpoint_id):
            endpoint = self._realm.endpoints().get(endpoint_id)
            if endpoint is not None and endpoint.ports:
                self._ports.revoke(endpoint)
                self._realm.put_endpoint(replace(endpoint, ports=()))

    def waiting(self) -> list[Endpoint]:
        """Those whose labels are not known yet: they are denied everything."""
        return [
            endpoint
            for endpoint in self._realm.endpoints().values()
            if endpoint.state is EndpointState.WAITING_FOR_LABELS
        ]

    def learn(self, endpoint_id: str, facts: ContainerFacts) -> None:
        """What has become known about a container since its Join, or has changed. One whose labels are refused
        can no longer be kept from starting: it stays denied everything, and `refused` says why."""
        try:
            self._relabel(endpoint_id, lambda endpoint, network: self._label(endpoint, network, facts))
        except (Exhausted, InvalidInput, Unsupported) as error:
            if str(self._refused.get(endpoint_id)) != str(error):
                log.warning("labels are refused", container=facts.name, reason=str(error))
            self._refused[endpoint_id] = error
            self._relabel(
                endpoint_id,
                lambda endpoint, _network: replace(
                    endpoint, container_id=facts.id, container_name=facts.name
                ),
            )

    def refused(self) -> dict[str, CiliateError]:
        """By Docker's id of the endpoint: why it is denied everything although its labels are known."""
        waiting = {endpoint.docker_id for endpoint in self.waiting()}
        return {number: reason for number, reason in list(self._refused.items()) if number in waiting}

    def set_labels(self, endpoint_id: str, labels: Labels | None) -> None:
        """Labels that replace what the container says; None goes back to the container's own. Raises NotFound,
        Unavailable if the container's own cannot be read, InvalidInput or Unsupported if they are refused."""
        endpoint = self._endpoint(endpoint_id)
        facts = self._containers.find(endpoint) if endpoint.ifindex else None
        self._relabel(
            endpoint_id,
            lambda endpoint, network: self._label(replace(endpoint, user_labels=labels), network, facts),
        )

    def identify_again(self, endpoint_id: str) -> None:
        """Its labels have another identity than they had. One that cannot be named now is denied everything."""
        try:
            self._relabel(endpoint_id, lambda endpoint, _network: endpoint, even_if_same=True)
        except Unavailable:
            with self._endpoint_locks.held(endpoint_id):
                endpoint = self._realm.endpoints().get(endpoint_id)
                if endpoint is not None and endpoint.ifindex:
                    self._realm.put_endpoint(unnamed(endpoint))
            raise

    def set_audit(self, endpoint_id: str, audit: bool) -> None:
        """Whether what the endpoint's policy denies passes."""
        with self._endpoint_locks.held(endpoint_id):
            self._realm.put_endpoint(replace(self._endpoint(endpoint_id), audit=audit))

    def rename_network(self, network_id: str, name: str) -> None:
        """Docker tells a network's name to nobody who does not ask."""
        with self._networks_lock:
            network = self._realm.networks().get(network_id)
            if network is not None and network.name != name:
                self._realm.put_network(replace(network, name=name))

    def _relabel(
        self,
        endpoint_id: str,
        change: Callable[[Endpoint, Network], Endpoint],
        *,
        even_if_same: bool = False,
    ) -> None:
        with self._endpoint_locks.held(endpoint_id):
            endpoint = self._realm.endpoints().get(endpoint_id)
            network = self._realm.networks().get(endpoint.network_id) if endpoint is not None else None
            if endpoint is None or network is None or endpoint.ifindex == 0:
                return  # gone meanwhile
            changed = change(endpoint, network)
            if changed != endpoint or even_if_same:
                self._realm.put_endpoint(self._identified(changed))

    def _label(self, endpoint: Endpoint, network: Network, facts: ContainerFacts | None) -> Endpoint:
        return self._labeller.label(endpoint, network, facts)

    def _identified(self, endpoint: Endpoint) -> Endpoint:
        """With the identity of its labels."""
        if endpoint.state is not EndpointState.READY:
            return endpoint
        return replace(endpoint, identity=self._realm.identify(endpoint.labels))

    def _fit(self, endpoint: Endpoint) -> None:
        """Programs onto its link, which is down if they cannot be had."""
        try:
            self._attach(endpoint.ifindex)
            self._links.open(self._plan(endpoint, self._network(endpoint.network_id)), endpoint.ifindex)
        except BaseException:
            _quietly(lambda: self._links.shut(endpoint.ifindex))
            raise

    def _plan(self, endpoint: Endpoint, network: Network) -> LinkPlan:
        return link_plan(
            endpoint, network, self._defaults.mtu or self._host.facts().mtu - self._defaults.overhead
        )

    def _network(self, network_id: str) -> Network:
        network = self._realm.networks().get(network_id)
        if network is None:
            raise NotFound(
                f"ciliate has no record of network {network_id[:12]}",
                hint="its state directory was emptied; remove the network and create it again",
            )
        return network

    def _endpoint(self, endpoint_id: str) -> Endpoint:
        endpoint = self._realm.endpoints().get(endpoint_id)
        if endpoint is None:
            raise NotFound(
                f"ciliate has no record of endpoint {endpoint_id[:12]}", hint="start the container again"
            )
        return endpoint

    def _drop_holders(self, request: EndpointRequest, addresses: list[IPAddress]) -> None:
        """Docker gives an address to one endpoint only: who had it before is gone, without a word to us."""
        holders = {self._holders[address] for address in addresses if address in self._holders}
        for holder in holders - {request.endpoint_id}:
            log.info("removing an endpoint whose address Docker gave to another", endpoint=holder[:12])
            self.delete_endpoint(holder)

    def _serve_all(self) -> None:
        networks = list(self._realm.networks().values())
        self._host.serve(networks)
        self._pool.keep_ready(bool(networks))


def _check_subnets(request: NetworkRequest, internal: bool, mtu: int) -> None:
    if not request.subnets:
        raise InvalidInput("the network has no subnet", hint="use --ipam-driver ciliate, or give --subnet")
    for subnet in request.subnets:
        if subnet.pool.prefixlen == 0:
            raise InvalidInput(
                f"{subnet.pool} is no subnet of a network", path="--subnet", hint="use --ipam-driver ciliate"
            )
        if subnet.gateway is None and not internal:
            raise InvalidInput(
                f"the IPAM driver gave no gateway for {subnet.pool}", hint="use --ipam-driver ciliate"
            )
        if subnet.pool.version == 6 and 0 < mtu < SMALLEST_MTU6:
            raise InvalidInput(
                f"an MTU of {mtu} is too small for IPv6", path="ciliate.mtu", hint="1280 at least"
            )


def _check_overlap(request: NetworkRequest, known: Iterable[Network]) -> None:
    for network in known:
        if network.docker_id == request.network_id:
            continue
        for theirs in network.subnets:
            for ours in request.subnets:
                if overlap(ours.pool, theirs.pool):
                    raise Conflict(
                        f"{ours.pool} overlaps {theirs.pool} of network {network.name or network.docker_id[:12]}",
                        path="--subnet",
                        hint="choose another subnet",
                    )


def _check_enforcement(
    request: NetworkRequest, identity: str, always: bool, known: Iterable[Network]
) -> None:
    """What decides about an identity cannot differ between networks that share it."""
    for network in known:
        is_other = network.docker_id != request.network_id and network.id == identity
        if is_other and network.enforcement_always is not always:
            raise Conflict(
                f"network {network.name or network.docker_id[:12]}, which is one with this, "
                f"{'has' if network.enforcement_always else 'has not'} enforcement=always",
                path="ciliate.enforcement",
                hint="give both the same",
            )


def _quietly(action: Callable[[], None]) -> None:
    """While something else is already being reported."""
    try:
        action()
    except CiliateError as error:
        log.warning("could not be undone completely", reason=str(error))
