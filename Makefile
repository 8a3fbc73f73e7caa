# Every target works from a clean clone, as root, on Debian 12, Debian 13 or Ubuntu 24.04; installs what it needs and is
# safe to repeat.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

venv := .venv/bin
pytest := $(venv)/pytest
SHELL_SCRIPTS = $(wildcard packaging/*.sh) .ci/run tests/vm/init
C_SOURCES = $(wildcard datapath/bpf/*.c datapath/bpf/*.h)
BENCHES = $(patsubst bench/%.py,bench-%,$(filter-out bench/_%,$(wildcard bench/*.py)))

##@ Use
run: ## set up this host, start ciliate, say what to do next
	@packaging/install.sh $(install_options)

stop: ## stop the agent; policy stays in force
	@packaging/stop.sh

demo: install_options = --no-next
demo: run ## five minutes with two clients and a policy; removes all it made
	@packaging/demo.sh

cluster-up: .venv/ready ## three hosts in namespaces, with Docker, Consul and ciliate, to play with
	@$(venv)/python -m tests.cluster.play up

cluster-down: .venv/ready ## removes them
	@$(venv)/python -m tests.cluster.play down

##@ Work
test: test-unit test-kernel test-docker test-cluster ## all layers of tests

test-unit: .venv/ready ## pure code and the repository itself: no root, seconds
	$(pytest) tests/unit tests/repo $(PYTEST)

test-kernel: .venv/ready ## programs, maps and links in network namespaces; root
	$(pytest) tests/contract tests/kernel $(PYTEST)

test-docker: .venv/ready ## real Docker engines, each in namespaces of its own; root
	$(pytest) tests/docker $(PYTEST)

test-cluster: .venv/ready ## three Docker hosts and what is between them; root
	$(pytest) tests/cluster $(PYTEST)

test-vm: .venv/ready ## the datapath on stock Debian kernels, emulated; fetches them once
	$(pytest) tests/vm $(PYTEST)

vm: .venv/ready ## one command on such a kernel: KERNEL=6.1 CMD='uname -r'
	@$(venv)/python -m tests.vm $(KERNEL) '$(subst ','\'',$(CMD))'

verify-long: .venv/ready ## a million random packets: do rules and kernel agree? root, some minutes
	$(venv)/python -m tests.verify_long $(VERIFY)

lint: .venv/ready ## style, types, import rules, C format, shell scripts
	$(venv)/ruff check .
	$(venv)/ruff format --check .
	$(venv)/mypy
	$(venv)/lint-imports
	clang-format --dry-run -Werror $(C_SOURCES)
	shellcheck -x $(SHELL_SCRIPTS)

format: .venv/ready ## bring Python and C into their form
	$(venv)/ruff check --fix .
	$(venv)/ruff format .
	clang-format -i $(C_SOURCES)

docs: .venv/ready ## write docs/reference from the code
	$(venv)/python -m cli.reference
	$(venv)/python -m agent.reference
	$(venv)/python -m observe.reference

bench: $(BENCHES) ## all benchmarks; each writes build/bench/NAME.json

$(BENCHES): bench-%: .venv/ready
	@mkdir -p build/bench
	$(venv)/python -m bench.$*

prebuilt: .venv/ready ## compile the programs for every kernel, for hosts without kernel headers
	$(venv)/python -m datapath.loader --prebuild

clean: ## remove what builds and tests have made in this folder
	rm -rf .venv build dist datapath/prebuilt *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml packaging/developer.sh packaging/steps.sh
	@packaging/developer.sh
	@touch $@

help:
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@for bench in $(sort $(BENCHES)); do printf '  make %s\n' $$bench; done

.PHONY: run stop demo cluster-up cluster-down test test-unit test-kernel test-docker test-cluster test-vm vm verify-long lint format docs bench $(BENCHES) prebuilt clean help
