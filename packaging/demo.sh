#!/usr/bin/env bash
# The five-minute story on the engine of this host, told step by step; removes all that it made, also on Ctrl-C.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=packaging/steps.sh
. "$here/steps.sh"

need_root
packages busybox-static
rm -f "$output"
exec /usr/bin/python3 "$here/demo.py" "$@"
