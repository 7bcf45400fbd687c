# The command book. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

.PHONY: check
check: ## Format, clippy and unit tests: seconds to a minute
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --lib --bins --locked

.PHONY: test
test: check ## Everything that gates
	cargo test --workspace --locked

.PHONY: clean
clean: ## Remove what was built here (the tool cache stays)
	cargo clean
