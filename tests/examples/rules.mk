# The programs in examples/: each runs against the emulator, which counts token requests.

.PHONY: test-examples check-examples lint-examples
LINTS += lint-examples
TESTS += test-examples

test-examples: python-dev-wheel ## Run the programs in examples/ against the emulator
	$(VENV_PYTHON) -m pytest -p no:cacheprovider -n 2 --dist loadfile tests/examples

check-examples: lint-examples test-examples

lint-examples: $(VENV)/.ready ## Check the formatting and lints of the examples in Python
	cd tests/examples && $(VENV)/bin/ruff check --config ../python/ruff.toml . && \
		$(VENV)/bin/ruff format --config ../python/ruff.toml --check .
	cd examples && $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
