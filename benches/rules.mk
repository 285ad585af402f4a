# Commands that count instructions and measure times.

# `make instructions PROFILE=release` counts what is shipped, without a comparison.
PROFILE = instructions
BUILT = $(abspath $(or $(CARGO_TARGET_DIR),target))/$(PROFILE)

MEASURED = $(abspath $(or $(CARGO_TARGET_DIR),target))/release

.PHONY: instructions bench-table bench-rust
TESTS += instructions
BENCHES += bench-table bench-rust

# The three programs are built together, because Cargo would compile most dependencies
# again for each.
instructions: setup venv ## Count instructions; fail where an operation grew by 5 % (ONLY=text)
	PYO3_BUILD_EXTENSION_MODULE=1 $(CARGO) build --quiet --profile $(PROFILE) \
		--package layerfi-auth-bench --package layerfi-auth-ffi \
		--package layerfi-auth-python $(FEATURES)
	mkdir -p $(BUILT)/counted/layerfi_auth
	cp python/layerfi_auth/*.py $(BUILT)/counted/layerfi_auth
	cp $(BUILT)/liblayerfi_auth_native.so $(BUILT)/counted/layerfi_auth/_native.abi3.so
	cp $(BUILT)/liblayerfi_auth.so $(BUILT)/counted/liblayerfi_auth.so.1
	cc -O2 -std=c11 -Wall -Wextra -Iinclude -o $(BUILT)/counted/operations \
		ffi/benches/operations.c $(BUILT)/counted/liblayerfi_auth.so.1 \
		-Wl,-rpath,$(BUILT)/counted
	scripts/instructions --rust $(BUILT)/operations --c $(BUILT)/counted/operations \
		--python $(VENV_PYTHON) --package $(BUILT)/counted \
		--compare $(if $(filter instructions,$(PROFILE)),yes,no) --only "$(ONLY)"

# The C library and the wheel as users get them. On an otherwise idle machine.
bench-table: setup venv ## Measure everything in one table and write docs/performance.md
	$(CARGO) build --quiet --profile bench --package layerfi-auth-bench --bins \
		--features layerfi-auth/redis
	$(FFI_RELEASE) CARGO="$(CARGO)" OUT="$(MEASURED)/c-library" ffi/build.sh
	mkdir -p $(MEASURED)/measured
	cp $(MEASURED)/liblayerfi_auth.so $(MEASURED)/measured/liblayerfi_auth.so.1
	cc -O2 -std=c11 -Wall -Wextra -Iinclude -o $(MEASURED)/measured/measure \
		ffi/benches/measure.c $(MEASURED)/measured/liblayerfi_auth.so.1 \
		-Wl,-rpath,$(MEASURED)/measured -lcurl -pthread
	rm -rf $(WHEELS)/release
	cd python && $(WHEEL_SIZE) $(VENV)/bin/maturin build --quiet --release --locked \
		--interpreter $(VENV_PYTHON) --auditwheel skip --out $(WHEELS)/release
	$(VENV_PYTHON) -m venv --clear $(VENV)/bench
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bench/bin/python --no-deps \
		--reinstall $(WHEELS)/release/*.whl
	scripts/bench --rust $(MEASURED) --c $(MEASURED)/measured/measure \
		--library $(MEASURED)/liblayerfi_auth.so --python $(VENV)/bench/bin/python \
		--wheel $(WHEELS)/release/*.whl
	scripts/performance-page

bench-rust: ## Measure many callers, refreshes, batches and the memory of the cache
	$(CARGO) bench --package layerfi-auth-bench
