# The programs in examples/: each runs against the emulator, which counts token requests.

.PHONY: test-examples check-examples lint-examples
LINTS += lint-examples
TESTS += test-examples

test-examples: python-dev-wheel ## Run the programs in examples/ against the emulator
	$(VENV_PYTHON) -m pytest -p no:cacheprovider -n 2 tests/examples

check-examples: lint-examples test-examples

lint-examples: $(VENV)/.ready ## Check the formatting and lints of the examples in Python
	$(VENV)/bin/ruff check --config tests/python/ruff.toml tests/examples
	$(VENV)/bin/ruff format --config tests/python/ruff.toml --check tests/examples
	cd examples && $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
