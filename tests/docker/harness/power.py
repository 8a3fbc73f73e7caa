"""A host that loses its power, and one that is switched on again."""

from __future__ import annotations

from tests.docker.harness.host import Host
from tests.docker.harness.sandbox import wait_until

_FORGOTTEN = """
# Mounts of containers and of their network namespaces; the world beyond the uplink is another machine.
awk '{print $5}' /proc/self/mountinfo | grep -E '^(/run|/var/lib/docker|/var/lib/containerd)/' |
	grep -v '^/run/netns' | tac | xargs -r umount -l
find /run -mindepth 1 -maxdepth 1 -not -name netns -exec rm -rf {} +
mkdir -p /run/lock /run/log
umount -l /sys/fs/bpf
mount -t bpf -o mode=700 bpf /sys/fs/bpf
ip -br link | awk '{print $1}' | cut -d@ -f1 | grep -vE '^(lo|eth0)$' | xargs -rn 1 ip link delete 2>/dev/null
nft flush ruleset
echo 0 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv6/conf/all/forwarding
find /sys/fs/cgroup -depth -mindepth 2 -type d -path "*/$NAME/*" -exec rmdir {} + 2>/dev/null
true
"""
"""What no machine remembers: mounts, /run, pins, links, firewall rules, switches of the kernel, cgroups."""


def cut(host: Host) -> None:
    """Every process dies at once. What had been written to files is there; that it had also reached the disk is for
    other tests to show."""
    host.run("kill", "-9", "-1", check=False)
    host.run("sh", "-c", _FORGOTTEN, env={"NAME": host.sandbox.name})


def switch_on(host: Host) -> None:
    """Agent and engine at once, as two units of systemd that do not wait for each other's readiness."""
    host.engine.start_containerd()
    host.agent.start(wait=False)
    host.engine.start(wait=False)
    host.agent.wait_ready()
    wait_until(host.engine.answers, "the engine answers", 60)
