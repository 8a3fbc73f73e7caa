#!/usr/bin/env bash
# Installs what ciliate needs, installs ciliate, starts it and waits until it is ready. Safe to repeat: what is there is
# left alone. With --no-next it does not say what to do next. Root; Debian 12, Debian 13, Ubuntu 24.04. What it did is
# listed in /opt/ciliate/installed.txt, and uninstall.sh undoes it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source=$(dirname "$here")
home=${INSTALL_HOME:-/opt/ciliate}
links=${INSTALL_LINKS:-/usr/local/bin}
settings=${INSTALL_SETTINGS:-/etc/ciliate/ciliate.env}
units=${INSTALL_UNITS:-/etc/systemd/system}

# shellcheck source=packaging/steps.sh
. "$here/steps.sh"
# shellcheck source=packaging/daemon.sh
. "$here/daemon.sh"

record() {
	grep -qxF "$1" "$home/installed.txt" 2>/dev/null || echo "$1" >>"$home/installed.txt"
}

engine() {
	local version
	if version=$(engine_version); then
		already "the engine: Docker $version answers"
	elif is_installed docker-ce || is_installed docker.io || command -v dockerd >/dev/null; then
		start_engine_later=yes
		already "the engine is installed, and will be started"
	else
		packages docker.io
		start_engine_later=yes
	fi
	if ! command -v docker >/dev/null; then
		refresh
		if is_available docker-cli; then packages docker-cli; fi
	fi
	if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then packages apparmor; fi
}

program() {
	local hash
	hash=$(source_hash)
	if [ "$(cat "$home/source.sha256" 2>/dev/null)" = "$hash" ] && [ -x "$home/venv/bin/ciliate-agent" ]; then
		already "ciliate is installed and current"
		return
	fi
	[ -x "$home/venv/bin/python" ] ||
		step "making a virtual environment in $home/venv" /usr/bin/python3 -m venv --system-site-packages "$home/venv"
	step "installing ciliate and the Python packages it needs" install_program
	step "compiling its programs, for this kernel and any later one" compile_programs
	echo "$hash" >"$home/source.sha256"
	changed=yes
}

# The folders that are Python packages; bench measures the program and is no part of it.
parts() {
	(cd "$source" && dirname -- */__init__.py | grep -vx bench)
}

source_hash() {
	(
		cd "$source"
		# shellcheck disable=SC2046
		find pyproject.toml $(parts) -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
			xargs -0 sha256sum | sha256sum | cut -d' ' -f1
	)
}

# From a copy, so that the build leaves nothing in the source.
install_program() {
	local copy status=0
	copy=$(mktemp -d)
	(
		cd "$source"
		# shellcheck disable=SC2046
		cp -r pyproject.toml README.md $(parts) "$copy/"
	)
	"$home/venv/bin/python" -m pip install --upgrade --no-input "$copy" || status=$?
	rm -rf "$copy"
	return $status
}

# Then no start needs headers or a compiler. Does nothing where the source came with them.
compile_programs() {
	(cd / && "$home/venv/bin/python" -m datapath.loader --prebuild)
}

places() {
	local name
	for name in ciliate ciliate-agent; do
		ln -sfn "$home/venv/bin/$name" "$links/$name"
		record "link $links/$name"
	done
	if ! getent group ciliate >/dev/null; then
		groupadd --system ciliate
		record "group ciliate"
	fi
	if [ ! -e "$settings" ]; then
		mkdir -p "$(dirname "$settings")"
		install -m 0644 "$here/ciliate.env" "$settings"
		record "settings $settings"
	fi
	if has_systemd && ! cmp -s "$here/ciliate.service" "$units/ciliate.service"; then
		install -m 0644 "$here/ciliate.service" "$units/ciliate.service"
		record "unit $units/ciliate.service"
		systemctl daemon-reload
		changed=yes
	fi
	already "commands in $links, settings in $settings"
}

agent() {
	if [ -n "$changed" ] && agent_runs; then step "stopping the agent of before (policy stays in force)" stop_agent; fi
	if agent_runs; then
		already "the agent runs"
	else
		step "starting the agent" start_agent "$settings"
	fi
	# After the agent: containers that the engine starts by itself find the driver there.
	if [ -n "$start_engine_later" ]; then step "starting the engine" start_engine; fi
	wait_for_agent
}

start_engine_later=
changed=
need_root
command -v apt-get >/dev/null || fail "this needs apt-get" "supported are Debian 12, Debian 13 and Ubuntu 24.04"
mkdir -p "$home"
echo "ciliate: setting up this host"
packages python3 python3-venv python3-bpfcc nftables iproute2 ca-certificates
engine
command -v iptables >/dev/null || packages iptables
headers
program
places
agent
if [ "${1:-}" = --no-next ]; then exit; fi
cat <<'END'

ciliate is ready. Next:
  docker network create -d ciliate --ipam-driver ciliate mynet
  ciliate status
  make demo
END
