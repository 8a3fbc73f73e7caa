#!/usr/bin/env bash
# Stops the agent. Forwarding and policy stay in force: programs and maps live in the kernel.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=packaging/steps.sh
. "$here/steps.sh"
# shellcheck source=packaging/daemon.sh
. "$here/daemon.sh"

need_root
if agent_runs; then
	step "stopping the agent" stop_agent
	echo "Policy stays in force. 'make run' starts the agent again, 'ciliate cleanup' removes everything from the kernel."
else
	already "the agent does not run"
fi
