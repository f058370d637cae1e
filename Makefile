# Every daily command. `make` alone lists them. PYTHON chooses the interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] + getattr(sys, "abiflags", ""))')
VENV := .venv-$(VERSION)
BIN := $(VENV)/bin
# `make test RUST=no` leaves out the Rust half, for a second Python.
RUST ?= yes

.PHONY: help
help: ## List these commands
	@echo "Kettle. Set-up is done by each command itself. PYTHON=$(PYTHON) is $(VERSION)."
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Make the virtual environment and build kettle into it (release, editable)
	@ci/venv.sh $(PYTHON) $(VENV)
	@ci/build.sh $(VENV)

.PHONY: demo
demo: ## A tour in under two minutes: each example in turn, then what hangs elsewhere
	@ci/venv.sh $(PYTHON) $(VENV) demo
	@ci/build.sh $(VENV)
	@$(BIN)/python examples/tour.py

.PHONY: crawler
crawler: ## The crawler of the examples, in Python and in Rust; builds an HTTP client and a parser
	@ci/venv.sh $(PYTHON) $(VENV)
	@ci/build.sh $(VENV)
	@$(BIN)/python examples/crawler.py
	@cargo run --quiet --manifest-path examples/crawler-rust/Cargo.toml --target-dir target/crawler

.PHONY: hangs
hangs: ## Only the end of the tour: the standard library and kettle side by side
	@ci/venv.sh $(PYTHON) $(VENV) demo
	@ci/build.sh $(VENV)
	@$(BIN)/python examples/tour.py --hangs

.PHONY: test
test: ## All tests: Rust, documentation examples, Python; ends with one line of counts
	@ci/venv.sh $(PYTHON) $(VENV) test
	@ci/test.sh $(VENV) $(RUST)

.PHONY: check
check: ## Formatting, lints, types, stubs, arrows between modules
	@ci/venv.sh $(PYTHON) $(VENV) test lint
	@ci/build.sh $(VENV)
	@ci/check.sh $(VENV)

.PHONY: figures
figures: ## How long files and functions are, which files form circles: tables; LISTS=--lists shows each
	@$(PYTHON) ci/figures.py $(LISTS)

.PHONY: bench
bench: ## Measure against the standard library and its peers, interleaved
	@ci/venv.sh $(PYTHON) $(VENV) bench
	@ci/build.sh $(VENV)
	@$(BIN)/python -m benches

.PHONY: bench-loop
bench-loop: ## Measure the event loop against asyncio's, uvloop and rloop, interleaved; some minutes
	@ci/venv.sh $(PYTHON) $(VENV) bench
	@ci/build.sh $(VENV)
	@$(BIN)/python -m benches.event_loop

.PHONY: stress
stress: ## Thousands of random kills, millions of mutated messages, seeded; minutes long
	@ci/venv.sh $(PYTHON) $(VENV) test
	@ci/build.sh $(VENV)
	@$(BIN)/python -m stress

# ONLY="janus pykka" chooses among them.
.PHONY: others
others: ## The test suites of other projects, each plainly and under `kettle run`; an hour, and some hundred MB from PyPI
	@ci/venv.sh $(PYTHON) $(VENV)
	@ci/build.sh $(VENV)
	@$(BIN)/python -m others $(ONLY)

.PHONY: loom
loom: ## Every interleaving of the core's algorithms, for small cases; a minute
	@ci/loom.sh

.PHONY: sanitize
sanitize: ## The core's conformance suite under the thread and address sanitizers
	@ci/sanitize.sh

.PHONY: sanitize-python
sanitize-python: ## The Python tests of many threads under the thread sanitizer: SOURCE=Python-3.14.1.tar.xz
	@SOURCE="$(SOURCE)" ci/sanitize-python.sh

# One part in twenty of all mutants, spread over the files: 0/20 to 19/20.
SHARD ?= 0/20

.PHONY: mutants
mutants: ## Change the core at many places, one at a time, and see whether a Rust test notices: SHARD=7/20
	@# 3 says that mutants hang and that none is missed.
	CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=1 \
		cargo mutants --package kettle-core --shard $(SHARD) --sharding round-robin --output target || [ $$? = 3 ]

.PHONY: docs
docs: ## Build the documentation of the Rust crates into target/doc
	cargo doc --no-deps --workspace --all-features
