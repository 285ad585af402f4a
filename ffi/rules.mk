# Commands for the C and C++ bindings.

# The test target of the package layerfi-auth-ffi.
FFI_TEST = binding

.PHONY: test-ffi check-ffi lint-ffi header lib install
LINTS += lint-ffi

FFI_C_SOURCES = examples/*/*.c examples/*/*.cpp include/layerfi_auth.hpp tests/c/*.[ch] tests/cpp/*.cpp ffi/examples/*.c \
	ffi/examples/*.cpp tests/soak/*.c ffi/tests/consumer/*.c ffi/tests/consumer/*.cpp ffi/benches/*.c

# `make unit` runs these tests too.
test-ffi: setup ## Test the C and C++ bindings: programs, sanitizers, valgrind, installation
	$(CARGO_TEST) --test $(FFI_TEST)

# Without the slow programs: valgrind and sanitizers.
check-ffi: lint-ffi ## Run the quick tests of the C and C++ bindings
	$(CARGO_TEST) --test $(FFI_TEST) -- --skip valgrind --skip sanitizer --skip memory --skip install --skip services

lint-ffi: setup ## Check the formatting of the C and C++ code
	clang-format --style=file:ffi/.clang-format --dry-run --Werror $(FFI_C_SOURCES)

header: ## Generate include/layerfi_auth.h and ffi/abi.txt from the sources
	UPDATE_HEADER=1 $(CARGO_TEST) --test $(FFI_TEST) -- header:: abi::

# Optimized for size: the library is a quarter smaller. Cargo.toml has an exception for the
# crate of the cache hits, so that they are as fast.
FFI_RELEASE = CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_BENCH_OPT_LEVEL=s

# What `make lib` builds, and `make install` copies.
C_LIBRARY = $(or $(CARGO_TARGET_DIR),target)/c-library
PREFIX ?= /usr/local
# Only if the user names it: without it, `make install` installs what was built.
C_LIBRARY_CACHE = $(if $(SHARED_CACHE),$(if $(filter 0,$(SHARED_CACHE)),0,1))

lib: ## Build the C library, with SHARED_CACHE=1 for fleets (needs Rust, gcc, binutils)
	$(FFI_RELEASE) CARGO="$(CARGO)" OUT="$(C_LIBRARY)" SHARED_CACHE="$(or $(C_LIBRARY_CACHE),0)" ffi/build.sh

# Only copies, so that it works under sudo. After `lib` if both are asked for.
install: | $(filter lib,$(MAKECMDGOALS)) ## Install the built C library (PREFIX, LIBDIR, INCLUDEDIR, DESTDIR)
	@BUILT="$(C_LIBRARY)" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" LIBDIR="$(or $(LIBDIR),lib)" \
		INCLUDEDIR="$(or $(INCLUDEDIR),include)" RELOCATABLE="$(RELOCATABLE)" \
		SHARED_CACHE="$(C_LIBRARY_CACHE)" ffi/install.sh
