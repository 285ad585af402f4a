# Commands for the Python package. They need Rust, Python 3.10 or later and a C
# compiler; everything else is installed in .venv.

# More processes than processors, because most tests wait for a clock or a server.
# `make test-fleet` runs the tests of fleets.
PYTEST = -m pytest -p no:cacheprovider -n 4 tests/python --ignore tests/python/test_fleet.py
WHEELS = $(abspath $(or $(CARGO_TARGET_DIR),target))/wheels
# `make wheel` fails if the wheel uses a symbol of a newer glibc.
MANYLINUX = manylinux2014
PYTHON_SCRIPTS = tests/soak/soak.py tests/fleet/worker.py scripts/architecture-picture \
	scripts/check scripts/sbom scripts/demo-fleet scripts/fleet-simulation \
	scripts/instructions scripts/bench scripts/performance-page \
	scripts/release-check scripts/third-party-licences scripts/within benches/*.py \
	scripts/site-check scripts/site_pages.py tests/stranger/*.py tests/support/*.py
# Optimized for size, as the C library; Cargo.toml has an exception for the package's own crate.
WHEEL_SIZE = CARGO_PROFILE_RELEASE_OPT_LEVEL=s
OTHER_PYTHONS = 3.10 3.11 3.12 3.13

.PHONY: venv test-python check-python lint-python wheel sdist
LINTS += lint-python
TESTS += test-python

venv: $(VENV)/.ready ## Create .venv with the Python tools

$(VENV)/.ready: $(wildcard tests/python/requirements*.txt) python/rules.mk
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is required; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip install --quiet --python $(VENV_PYTHON) 'maturin>=1.10,<2' \
		-r tests/python/requirements.txt
	$(VENV)/bin/uv pip install --quiet --python $(VENV_PYTHON) \
		--target $(VENV)/gunicorn-with-eventlet -r tests/python/requirements-eventlet.txt
	touch $@

# One wheel, built with the development profile, for all tests.
.PHONY: python-dev-wheel
python-dev-wheel: $(VENV)/.ready
	rm -rf $(WHEELS)/dev
	cd python && $(VENV)/bin/maturin build --quiet --locked --profile dev \
		--interpreter $(VENV_PYTHON) --auditwheel skip --out $(WHEELS)/dev
	$(VENV)/bin/uv pip install --quiet --python $(VENV_PYTHON) --no-deps --reinstall \
		$(WHEELS)/dev/*.whl

test-python: python-dev-wheel ## Test the Python package on every installed interpreter
	$(VENV_PYTHON) $(PYTEST)
	VENV="$(VENV)" WHEELS="$(WHEELS)/dev" PYTHONS="$(OTHER_PYTHONS)" \
		tests/python/on-other-interpreters

# Without the shared table, and without the tests that start servers.
check-python: lint-python ## Run the quick tests of the Python package
	$(VENV_PYTHON) $(PYTEST) -q --ignore tests/python/test_vectors.py \
		--ignore tests/python/test_servers.py --ignore tests/python/test_footprint.py \
		--ignore tests/python/test_shared_entries.py

lint-python: python-dev-wheel ## Run ruff, mypy --strict and stubtest
	cd python && $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	cd tests/python && $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check --config tests/python/ruff.toml --extend-ignore T201 \
		$(PYTHON_SCRIPTS)
	$(VENV)/bin/ruff format --config tests/python/ruff.toml --check $(PYTHON_SCRIPTS)
	cd python && $(VENV)/bin/mypy layerfi_auth layerfi_auth_pytest
	cd $(WHEELS) && $(VENV_PYTHON) -m mypy.stubtest \
		--allowlist $(abspath python/stubtest-allowlist.txt) layerfi_auth layerfi_auth_pytest

# Also installs the package from scratch, with the faster development profile.
sdist: $(VENV)/.ready ## Build the Python source package in dist/
	rm -f dist/layerfi_auth-*.tar.gz
	cd python && $(VENV)/bin/maturin sdist --out ../dist
	$(VENV_PYTHON) -m venv --clear $(VENV)/sdist
	MATURIN_PEP517_ARGS="--profile dev" \
		$(VENV)/sdist/bin/pip install --quiet --disable-pip-version-check --no-cache-dir \
		dist/layerfi_auth-*.tar.gz
	cd dist && $(VENV)/sdist/bin/python -c "from layerfi_auth.testing import Emulator; \
		layer = Emulator(); print(layer.client().whoami())"

wheel: $(VENV)/.ready ## Build the Python wheel for Linux with an old glibc in dist/
	$(VENV)/bin/uv pip install --quiet --python $(VENV_PYTHON) auditwheel ziglang
	rm -f dist/layerfi_auth-*.whl
	cd python && PATH="$(VENV)/bin:$$PATH" $(WHEEL_SIZE) $(VENV)/bin/maturin build --release --locked --zig \
		--compatibility $(MANYLINUX) --interpreter $(VENV_PYTHON) --out ../dist
	$(VENV)/bin/auditwheel show dist/layerfi_auth-*.whl
	$(VENV_PYTHON) tests/python/check_wheel.py dist/layerfi_auth-*.whl
	VENV="$(VENV)" WHEELS="$(abspath dist)" PYTHONS="$(OTHER_PYTHONS)" \
		tests/python/on-other-interpreters
