# shellcheck shell=bash
# Starting, stopping and asking the agent and the engine, with systemd or without. Sourced by the other scripts here.

run_dir=${CILIATE_RUN_DIR:-/run/ciliate}
log=${INSTALL_LOG:-/var/log/ciliate.log}

has_systemd() {
	[ -d /run/systemd/system ]
}

# ask SOCKET|HOST:PORT PATH: the body of an HTTP answer 200; fails on any other.
ask() {
	/usr/bin/python3 - "$@" <<'END'
import http.client, socket, sys

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)

where, path = sys.argv[1:]
connection = Unix(where, timeout=3) if where.startswith("/") else http.client.HTTPConnection(where, timeout=3)
try:
    connection.request("GET", path, headers={"Host": "localhost"})
    answer = connection.getresponse()
    text = answer.read().decode()
except OSError as error:
    sys.exit(f"{where}: {error}")
print(text)
sys.exit(answer.status != 200)
END
}

# field NAME: of a JSON object on standard input; status 1 if it is not there.
field() {
	/usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1" 2>/dev/null
}

# The version of the engine that answers on DOCKER_HOST or else at its usual place.
engine_version() {
	local where=${DOCKER_HOST:-unix:///var/run/docker.sock}
	case $where in
	unix://*) where=${where#unix://} ;;
	tcp://*) where=${where#tcp://} ;;
	*)
		docker version --format '{{.Server.Version}}' 2>/dev/null
		return
		;;
	esac
	ask "$where" /version 2>/dev/null | field Version
}

start_engine() {
	if has_systemd; then
		systemctl start docker
	elif ! { [ -x /etc/init.d/docker ] && /etc/init.d/docker start; }; then
		# The init script gives up where it may not raise its limits, as in a container.
		(cd / && exec setsid dockerd) >>/var/log/docker.log 2>&1 </dev/null &
	fi
	for _ in $(seq 300); do
		if engine_version >/dev/null; then return; fi
		sleep 0.1
	done
	echo "the engine does not answer after 30 s; see its log (/var/log/docker.log or journalctl -u docker)"
	return 1
}

supervisor_pid() {
	cat "$run_dir/supervisor.pid" 2>/dev/null
}

agent_runs() {
	local pid
	pid=$(supervisor_pid) && kill -0 "$pid" 2>/dev/null
}

# start_agent SETTINGS
start_agent() {
	if has_systemd; then
		systemctl enable --now ciliate
		return
	fi
	(
		cd / # not where a source tree would be imported instead of what is installed
		set -a
		# shellcheck disable=SC1090
		. "$1"
		exec setsid ciliate-agent
	) >>"$log" 2>&1 </dev/null &
}

# Ends the agent's processes. Programs, maps and so policy stay.
stop_agent() {
	if has_systemd && systemctl cat ciliate >/dev/null 2>&1; then
		systemctl stop ciliate
		return
	fi
	local pid
	pid=$(supervisor_pid) || return 0
	kill "$pid" 2>/dev/null || return 0
	for _ in $(seq 200); do
		if ! kill -0 "$pid" 2>/dev/null; then return; fi
		sleep 0.1
	done
	echo "process $pid does not end"
	return 1
}

worker_keeps_ending() {
	/usr/bin/python3 -c '
import json, sys
sys.exit(not any(child["name"] == "worker" and child["restarts"] >= 3 for child in json.load(sys.stdin)))
' <"$run_dir/children.json" 2>/dev/null
}

agent_log() {
	if has_systemd; then journalctl -u ciliate -n 25 --no-pager; else tail -n 25 "$log"; fi
}

# With a dot for each second, because the first start compiles. An agent that is ready may be degraded for some moments,
# until it has met the engine and the observer.
wait_for_agent() {
	local began=$SECONDS shown=0 state='' ready=
	printf '  ..  waiting until the agent is ready '
	while [ $((SECONDS - began)) -lt 120 ]; do
		if state=$(ask "$run_dir/api.sock" /v1/healthz 2>/dev/null | field status); then
			ready=${ready:-$SECONDS}
			if [ "$state" = ok ] || [ $((SECONDS - ready)) -ge 5 ]; then
				printf '\r  ok  the agent is ready: %s (%d s)%s\n' "$state" $((SECONDS - began)) "$(printf '%*s' 12 '')"
				return
			fi
		elif [ $((SECONDS - began)) -ge 2 ] && { ! agent_runs || worker_keeps_ending; }; then
			break
		fi
		if [ $((SECONDS - began)) -gt "$shown" ]; then
			printf '.'
			shown=$((SECONDS - began))
		fi
		sleep 0.1
	done
	printf '\n  !!  the agent is not ready after %d s; the end of its log:\n' $((SECONDS - began))
	agent_log | sed 's/^/      /'
	return 1
}
