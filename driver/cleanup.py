"""Takes everything of the driver's off the host."""

from __future__ import annotations

from driver.accept import Acceptance
from driver.links import Links
from driver.nft import remove_table
from driver.sysctls import Sysctls


def remove_all(links: Links, acceptance: Acceptance, sysctls: Sysctls, *, keep_forwarding: bool) -> None:
    """Links with their routes and programs, the gateways' device, the table of netfilter, accept rules, sysctls.
    `keep_forwarding`: Docker's own networks still need the host to route. Raises Unavailable."""
    for name in links.present():
        links.delete(name)
    links.set_gateways(set())
    remove_table()
    acceptance.remove()
    sysctls.restore(keep_forwarding=keep_forwarding)
