# The command book. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TESTBED := cargo testbed
DEMO := demo

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

.PHONY: check
check: lint ## Format, clippy and unit tests: seconds to a minute
	cargo test --workspace --lib --bins --locked

.PHONY: lint
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: test
test: preflight lint prepare ## Everything that gates, on real parts (root and Go needed)
	cargo test --workspace --locked

.PHONY: test-long
test-long: preflight lint prepare ## As test, with more rounds: for nights
	TEST_ROUNDS=$${TEST_ROUNDS:-50} cargo test --workspace --locked -- --include-ignored

.PHONY: demo
demo: preflight prepare ## The whole story on three nodes: a SQLite file becomes a replicated cluster
	@tests/demo/demo.sh $(DEMO)

.PHONY: demo-cutover
demo-cutover: ## After make demo: a live service moves from SQLite to JetStream by one edited field
	@tests/demo/cutover.sh $(DEMO)

.PHONY: demo-down
demo-down: ## Remove all of the demo
	@tests/demo/down.sh $(DEMO)

.PHONY: fresh-clone
fresh-clone: ## make demo and make test from a new clone with an empty cache; prints the times
	@tests/demo/fresh-clone.sh

.PHONY: bench
bench: preflight prepare ## Print the figures of the test bed, the operator, a migration and the service
	cargo build --release --package membership-operator --bins --locked
	$(TESTBED) bench
	cargo test --locked --test e2e figures_of -- --ignored --nocapture --test-threads 1
	cargo test --locked --test store figures_of -- --ignored --nocapture --test-threads 1
	cargo test --locked --test migration figures_of -- --ignored --nocapture --test-threads 1
	cargo test --locked --test service figures_of -- --ignored --nocapture --test-threads 1

.PHONY: twins
twins: prepare ## Seed mistakes into the store and see each one caught (of what is committed)
	tests/twins/run.sh

.PHONY: deny
deny: ## Licences, bans and advisories of the dependencies (cargo-deny needed)
	@command -v cargo-deny >/dev/null || { echo 'cargo-deny is not installed: cargo install --locked cargo-deny (minutes)' >&2; exit 1; }
	cargo deny check

.PHONY: clean
clean: ## Remove what was built here (the tool cache stays)
	cargo clean

.PHONY: preflight
preflight:
	@.ci/preflight

.PHONY: prepare
prepare:
	cargo build --bin testbed --locked
	$(TESTBED) prepare
