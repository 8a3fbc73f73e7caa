#!/usr/bin/env bash
# Undoes install.sh: removes ciliate from the kernel and its files from the disk. Refuses while containers are on ciliate
# networks. Packages that were installed on the way are named, not removed: something else may use them by now.
#   --purge   removes settings and state (policies, identities, addresses) too
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=${INSTALL_HOME:-/opt/ciliate}
purge=
case ${1:-} in
'') ;;
--purge) purge=yes ;;
*)
	echo "usage: $0 [--purge]" >&2
	exit 2
	;;
esac

# shellcheck source=packaging/steps.sh
. "$here/steps.sh"
# shellcheck source=packaging/daemon.sh
. "$here/daemon.sh"

need_root
[ -e "$home/installed.txt" ] || fail "ciliate is not installed in $home"
if [ -x "$home/venv/bin/ciliate" ]; then
	"$home/venv/bin/ciliate" cleanup || fail "ciliate is still in use" "remove what is listed above, then run this again"
	already "nothing of ciliate is left in the kernel"
fi
if agent_runs; then step "stopping the agent" stop_agent; fi
if has_systemd; then systemctl disable ciliate >/dev/null 2>&1 || true; fi

packages=()
while read -r kind what; do
	case $kind in
	link | unit) rm -f "$what" ;;
	group) groupdel "$what" 2>/dev/null || true ;;
	package) packages+=("$what") ;;
	settings)
		if [ -n "$purge" ]; then
			rm -f "$what"
			rmdir --ignore-fail-on-non-empty "$(dirname "$what")"
		fi
		;;
	esac
done <"$home/installed.txt"
if has_systemd; then systemctl daemon-reload; fi
rm -rf "$home" "$run_dir"
if [ -n "$purge" ]; then rm -rf "${CILIATE_STATE_DIR:-/var/lib/ciliate}" "$log"; fi
already "ciliate is removed"
if [ ${#packages[@]} -gt 0 ]; then
	echo "These packages were installed for it. If nothing else needs them:"
	echo "  apt-get purge ${packages[*]}"
fi
