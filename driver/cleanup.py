"""Takes everything of the driver's off the host."""

from __future__ import annotations

from driver.accept import Acceptance
from driver.hostview import HostView
from driver.links import Links
from driver.nft import remove_table
from driver.sysctls import Sysctls
from driver.tunnels import Tunnels


def remove_all(links: Links, acceptance: Acceptance, sysctls: Sysctls) -> None:
    """Links with their routes and programs, the gateways' device, the tunnel's, routes to other nodes, the table of
    netfilter, accept rules, and sysctls that no other network of the host needs. Raises Unavailable."""
    for name in links.present():
        links.delete(name)
    links.set_gateways(set())
    tunnels = Tunnels(links)
    tunnels.set_routes({})
    tunnels.keep_only("")
    tunnels.close()
    remove_table()
    acceptance.remove()
    view = HostView((), lambda _facts: None)
    view.start()
    view.close()
    sysctls.restore(keep={prefix.version for prefix in view.facts.unmanaged})
