#!/usr/bin/env bash
# What the tests, the linters and the benchmarks need: distribution packages, and a virtual environment in .venv, from
# which ciliate runs as it lies in this folder.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=packaging/steps.sh
. "$here/steps.sh"
cd "$here/.."

echo "ciliate: setting up for development"
if [ "$(id -u)" = 0 ]; then
	packages python3 python3-venv python3-bpfcc build-essential clang-format shellcheck \
		iproute2 nftables iptables tcpdump busybox-static curl procps iperf3 systemd
	# Other kernels run in machines of this kind only.
	if [ "$(dpkg --print-architecture)" = amd64 ]; then
		packages qemu-system-x86 kmod debian-archive-keyring
	fi
	headers
	# Compose's first generation, where the release still has it: its files must come up unchanged.
	if ! command -v docker-compose >/dev/null; then
		refresh
		packages docker-compose
	fi
else
	already "not root: the distribution's packages are taken as they are"
fi
[ -x .venv/bin/python ] ||
	step "making a virtual environment in .venv" /usr/bin/python3 -m venv --system-site-packages .venv
step "installing Python packages" .venv/bin/python -m pip install --no-input -e '.[test]'
