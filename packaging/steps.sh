# shellcheck shell=bash
# One line for each step of an installation, and apt without questions. Sourced by the other scripts here.

output=$(mktemp)
trap 'rm -f "$output"' EXIT

# step TEXT COMMAND...: runs the command with its output kept back; shown if it fails, and then all ends.
step() {
	local text=$1 began=$SECONDS
	shift
	printf '  ..  %s' "$text"
	if "$@" >"$output" 2>&1; then
		printf '\r  ok  %s (%d s)\n' "$text" $((SECONDS - began))
	else
		printf '\r  !!  %s\n' "$text"
		tail -n 25 "$output" | sed 's/^/      /'
		exit 1
	fi
}

already() {
	printf '  ok  %s\n' "$1"
}

fail() {
	printf '  !!  %s\n' "$1" >&2
	[ $# -lt 2 ] || printf '      %s\n' "$2" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] || fail "this needs root" "run it again with sudo"
}

apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=120 "$@"
}

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]
}

is_available() {
	[ -n "$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([^(].*\)/\1/p')" ]
}

# The package lists, once, and only if something has to be installed.
refreshed=
refresh() {
	[ -n "$refreshed" ] || step "reading the package lists" apt update
	refreshed=yes
}

# packages NAME...: installs those that are missing, and says of each that it did.
packages() {
	local missing=() name
	for name in "$@"; do
		is_installed "$name" || missing+=("$name")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	refresh
	for name in "${missing[@]}"; do
		step "installing $name" apt install --no-install-recommends "$name"
		record "package $name"
	done
}

# What BCC compiles against. Any headers will do, because only the kernel's interface to programs is included, and
# without any the instructions compiled before are loaded.
headers() {
	local release architecture generic found
	release=$(uname -r)
	architecture=$(dpkg --print-architecture)
	if found=$(find_headers); then
		already "kernel headers: $found"
		return
	fi
	refresh
	for generic in "linux-headers-$release" "linux-headers-$architecture" linux-headers-generic; do
		if is_available "$generic"; then
			packages "$generic"
			return
		fi
	done
	compgen -G "$(dirname "${BASH_SOURCE[0]}")/../datapath/prebuilt/*.bpf" >/dev/null ||
		fail "no package of kernel headers to be had, and no programs compiled before" \
			"enable the distribution's main package source and run this again; or run \`make prebuilt\` in this folder on a machine that has headers, and copy the folder here"
	already "no kernel headers to be had: the programs that \`make prebuilt\` left in this folder are used"
}

# By the code that will look for them.
find_headers() {
	(cd "$(dirname "${BASH_SOURCE[0]}")/.." && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m datapath.headers 2>/dev/null)
}

# Does nothing here; install.sh, which keeps a list of what it did, replaces it.
record() {
	:
}
