"""Builds the agent: the map of the whole program.

    records, store ──► restored state ──► kernel made to agree ──► loop (the single writer)
                                                                     ▲  ▲  ▲
      Docker ──► driver.api ──► Networks ──► AgentRealm ─────────────┘  │  │
      REST ───► agent.api ──► Rules ──► store ──► watch ──► resolve ────┘  │
      kernel ─► HostView (addresses, uplinks, other bridges) ──────────────┤
      other nodes ─► store ──► watch ──► Peers ────────────────────────────┘

In a cluster the Publisher follows the loop's state and tells the others, and Ways keeps the tunnel and routes to them.

Nothing here waits for Docker: the engine waits for us."""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from agent import api as rest
from agent.app import BySocket, plugin_app, rest_app
from agent.backups import Backups
from agent.courtesy import Courtesy
from agent.events import Event, HostChanged, PeersSynced, SlotsWanted
from agent.housekeeping import Housekeeping
from agent.journal import Journal
from agent.live import LiveSettings, with_kept
from agent.loading import Loading, finish_loader
from agent.loop import Loop
from agent.operations import realize
from agent.realm import AgentRealm
from agent.restore import (
    known_numbers,
    living_endpoints,
    numbered_networks,
    repair,
    restore,
    restored_state,
)
from agent.rules import Rules
from agent.serving import READERS, ROOT
from agent.settings import Settings
from agent.state import State
from agent.step import step
from agent.stored_rules import find_rules
from agent.system import System
from agent.verification import Verification
from datapath.attach import Programs
from datapath.cleanup import remove_old_pins
from datapath.kernel import KernelDatapath
from datapath.tables import NodeEntry
from driver import api as driver_api
from driver.accept import Acceptance
from driver.bypass import Bypasses
from driver.containers import Containers
from driver.guard import Guard
from driver.host import Host
from driver.hostfacts import HostFacts
from driver.hostview import HostView
from driver.labelling import Labeller
from driver.links import Links
from driver.network import Defaults, Networks
from driver.nft import Cluster, Nft
from driver.ports import Ports
from driver.reconcile import Reconciler
from driver.sysctls import Sysctls
from identity.labels import LabelFilter
from ipam_driver import api as ipam_api
from ipam_driver.claims import Claims, ClusterPool
from ipam_driver.ipam import Ipam
from model.errors import CiliateError
from model.network import IPNetwork, overlap
from store.identities import IdentityAllocator
from store.keys import Keys
from store.kv import KeyValueStore
from store.local import LocalStore
from store.networks import NetworkNumbers
from store.policies import PolicyStore
from store.sqlite import SqliteStore

log = structlog.get_logger("agent")

EMBEDDED = "cluster.db"
"""The embedded store, in the state directory."""


def build(settings: Settings, loading: Loading) -> System:
    started = time.monotonic()
    keys = Keys(settings.cluster)
    cluster = _cluster_store(settings, keys)
    node = SqliteStore(settings.state_dir / "node.db")
    records = LocalStore(node)
    identities = IdentityAllocator(cluster, keys, settings.node)
    policies, last_policies = PolicyStore(cluster, keys), PolicyStore(node, keys)

    links = Links()
    acceptance = Acceptance()
    relay = _HostRelay(acceptance)
    view = HostView(settings.devices, relay.changed)
    view.start()

    program = finish_loader(loading)
    datapath = KernelDatapath(settings.bpf_root)
    remembered = _remembered(node, settings.node) if settings.is_shared else None
    programs = Programs.open(settings.bpf_root)
    watch = policies.watch()
    network_numbers = NetworkNumbers(cluster, keys)
    numbers, known = known_numbers(datapath), numbered_networks(records, network_numbers.number)
    enforced = with_kept(settings, records.settings())
    endpoints = living_endpoints(records, known, links.present(), identities)
    state, found = restore(
        datapath,
        lambda rules: restored_state(
            enforced, known.values(), endpoints, rules, view.facts, numbers, remembered
        ),
        find_rules(watch, last_policies),
        last_policies,
    )

    loop: Loop[State, Event] = Loop(
        state,
        step,
        lambda operations: realize(datapath, operations),
        lambda good: repair(datapath, good),
    )
    loop.start()
    loop.call(SlotsWanted())
    relay.connect(loop)

    journal = Journal()
    realm = AgentRealm(loop, records, identities, network_numbers, journal)
    nft = Nft(masquerade=settings.masquerade, cluster=_known_cluster(settings, state))
    sysctls = Sysctls(records.sysctls, records.save_sysctl)
    host = Host(links, nft, sysctls, acceptance, lambda: view.facts)
    ports = Ports(nft, settings.publish_ip)
    remembered_root = settings.state_dir / "docker-root"
    containers = Containers(
        settings.docker_host,
        settings.docker_root or _read_path(remembered_root),
        lambda root: _write(remembered_root, str(root)),
    )
    networks = Networks(
        realm,
        links,
        host,
        ports,
        containers,
        Labeller(LabelFilter.parse(settings.labels)),
        programs.attach,
        Defaults(
            flat=settings.flat,
            mtu=settings.mtu,
            overhead=settings.routing.overhead if settings.is_shared else 0,
        ),
    )
    lost = networks.restore()
    if not lost:
        _forget_other_versions(settings.bpf_root, loop.state)
    pools = (
        ClusterPool("CILIATE_POOL", settings.pool, settings.node_prefix),
        ClusterPool("CILIATE_POOL6", settings.pool6, settings.node_prefix6),
    )
    ipam = Ipam(
        records,
        Claims(
            cluster,
            keys,
            settings.node,
            pools,
            lambda pool: _route_into(pool, view.facts, loop.state),
            divided=settings.is_shared,
        ),
        lambda pool: _conflict(pool, loop.state, view.facts),
    )
    membership = None
    if settings.is_shared:
        from agent.cluster import join_cluster  # a host alone does without

        membership = join_cluster(
            settings,
            loop,
            cluster,
            keys,
            node,
            datapath,
            links,
            nft,
            acceptance,
            ipam.slices,
            containers.aliases,
        )
        membership.start()
    elif datapath.node() != NodeEntry():
        _leave_cluster(settings.bpf_root, datapath, links, nft, acceptance)
    reconciler = Reconciler(
        realm,
        networks,
        containers,
        host,
        lambda: [status.pool for status in ipam.pools()],
        ipam.reconcile,
    )
    courtesy = Courtesy()
    rules = Rules(loop, policies, last_policies, watch, give_way=courtesy.give_way)
    rules.start(found)
    guard = Guard(realm, networks, programs.attached)
    housekeeping = Housekeeping(
        loop, datapath, identities, lambda: view.facts, guard.look, networks.identify_again
    )
    housekeeping.start()
    reconciler.start()

    plugin = plugin_app(driver_api.blueprint(networks), ipam_api.blueprint(ipam))
    rest_application, registry = rest_app()
    system = System(
        settings=settings,
        loop=loop,
        datapath=datapath,
        rules=rules,
        backups=Backups(policies, keys, settings.state_dir / EMBEDDED, rules.fits),
        networks=networks,
        ipam=ipam,
        containers=containers,
        bypasses=Bypasses(realm, containers, lambda: acceptance.facts),
        identities=identities,
        store=cluster,
        cluster=membership,
        journal=journal,
        live=LiveSettings(settings, records, loop, rules),
        verification=Verification(loop, settings.bpf_root, settings.state_dir / "bpf-cache", datapath.node),
        program=program,
        lost=lost,
        started=started,
        wsgi=BySocket(
            courtesy.first(plugin),
            rest_application,
            plugin_path=settings.plugin_socket,
            read_only_path=settings.read_only_socket,
            # One thread less than there are, so that who is refused is told so.
            at_once={settings.api_socket: ROOT[0] - 1, settings.read_only_socket: READERS[0] - 1},
        ),
        closing=[
            rules.stop,
            *([membership.stop] if membership is not None else []),
            reconciler.close,
            networks.close,
            housekeeping.stop,
            view.close,
            loop.stop,
            ports.close,
            programs.close,
            datapath.close,
            cluster.close,
            node.close,
        ],
    )
    rest.register(rest_application, registry, lambda: system)
    log.info("ready", seconds=round(time.monotonic() - started, 2), endpoints=len(state.endpoints))
    return system


def _cluster_store(settings: Settings, keys: Keys) -> KeyValueStore:
    if settings.consul is None:
        return SqliteStore(settings.state_dir / EMBEDDED)
    from store.consul import ConsulStore  # with all of py-consul: for those who use it

    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ConsulStore(settings.consul, settings.node, keys.session(settings.node), boot)


def _known_cluster(settings: Settings, state: State) -> Cluster:
    """Other nodes, as they were when the agent ended: the tunnel's port is never without its guard."""
    if not settings.is_shared:
        return Cluster()
    from agent.ways import known_cluster  # a host alone does without

    return known_cluster(settings, state)


class _HostRelay:
    """Hands what the host view sees to the writer, once there is one."""

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance
        self._loop: Loop[State, Event] | None = None

    def changed(self, facts: HostFacts) -> None:
        if self._loop is not None:
            self._loop.submit(HostChanged(facts))
        self._acceptance.set_bridges(facts.bridges)

    def connect(self, loop: Loop[State, Event]) -> None:
        self._loop = loop


def _remembered(local: KeyValueStore, node: str) -> PeersSynced | None:
    from agent.peers import remembered_peers  # a host alone does without
    from store.peers import PeerStore

    return remembered_peers(PeerStore(local), node)


def _leave_cluster(
    root: Path, datapath: KernelDatapath, links: Links, nft: Nft, acceptance: Acceptance
) -> None:
    from agent.cluster import make_overlay

    overlay, close = make_overlay(root, datapath, links, nft, acceptance)
    try:
        overlay.stop()
    except CiliateError as error:
        log.warning("what led to other nodes is still there", error=str(error))
    finally:
        close()


def _forget_other_versions(root: Path, state: State) -> None:
    """All endpoints have this version's programs by now; what an upgrade left of another's maps is only memory."""
    try:
        removed = remove_old_pins(
            root, [found.ifindex for found in state.endpoints.values() if found.ifindex]
        )
    except OSError as error:
        log.warning("another version's pins are still there", error=str(error))
    else:
        if removed:
            log.info("another version's pins are removed", abi=removed)


def _conflict(pool: IPNetwork, state: State, facts: HostFacts) -> str | None:
    for network in state.networks.values():
        for subnet in network.subnets:
            if overlap(pool, subnet.pool):
                return f"{subnet.pool} of network {network.name or network.docker_id[:12]}"
    if (route := _route_into(pool, facts, state)) is not None:
        return route
    for prefix in facts.unmanaged | facts.addresses:
        if overlap(pool, prefix):
            return f"{prefix}, which this host has"
    return None


def _route_into(pool: IPNetwork, facts: HostFacts, state: State) -> str | None:
    """A route to another node's slice is none, whoever has made it: where routing is native, the user's routers may."""
    slices = {prefix for node in state.nodes.values() for prefix in node.slices}
    for prefix, device in facts.routed.items():
        if prefix not in slices and overlap(pool, prefix):
            return f"{prefix}, which this host reaches over {device}"
    return None


def _read_path(path: Path) -> Path | None:
    try:
        return Path(path.read_text().strip())
    except OSError:
        return None


def _write(path: Path, text: str) -> None:
    """What can be found out again is no reason to fail."""
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        log.warning("not remembered", path=str(path), error=error.strerror)
