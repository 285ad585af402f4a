# Commands that count instructions.

# `make instructions PROFILE=release` counts what is shipped, without a comparison.
PROFILE = instructions
BUILT = $(abspath $(or $(CARGO_TARGET_DIR),target))/$(PROFILE)

.PHONY: instructions
TESTS_ALONE += instructions

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
