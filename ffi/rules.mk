# Commands for the C and C++ bindings.

# The test target of the package layerfi-auth-ffi.
FFI_TEST = binding

.PHONY: test-ffi check-ffi lint-ffi header install
LINTS += lint-ffi

FFI_C_SOURCES = include/layerfi_auth.hpp tests/c/*.[ch] tests/cpp/*.cpp ffi/examples/*.c \
	ffi/examples/*.cpp tests/soak/*.c ffi/tests/consumer/*.c ffi/tests/consumer/*.cpp ffi/benches/*.c

# `make unit` runs these tests too.
test-ffi: setup ## Test the C and C++ bindings: programs, sanitizers, valgrind, installation
	$(CARGO_TEST) --test $(FFI_TEST)

# Without the slow programs: valgrind and sanitizers.
check-ffi: lint-ffi ## Run the quick tests of the C and C++ bindings
	$(CARGO_TEST) --test $(FFI_TEST) -- --skip valgrind --skip sanitizer --skip memory --skip install

lint-ffi: setup ## Check the formatting of the C and C++ code
	clang-format --style=file:ffi/.clang-format --dry-run --Werror $(FFI_C_SOURCES)

header: ## Generate include/layerfi_auth.h and ffi/abi.txt from the sources
	UPDATE_HEADER=1 $(CARGO_TEST) --test $(FFI_TEST) -- header:: abi::

# Optimized for size: the library is a quarter smaller. Cargo.toml has an exception for the
# binding's own crate, so that cache hits are as fast.
FFI_RELEASE = CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_BENCH_OPT_LEVEL=s

PREFIX ?= /usr/local
install: ## Install the C library (PREFIX, LIBDIR, INCLUDEDIR, DESTDIR, SHARED_CACHE=1)
	$(FFI_RELEASE) $(CARGO) build --release --package layerfi-auth-ffi \
		$(if $(filter-out 0,$(SHARED_CACHE)),--features redis)
	BUILT="$(or $(CARGO_TARGET_DIR),target)/release" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" \
		LIBDIR="$(or $(LIBDIR),lib)" INCLUDEDIR="$(or $(INCLUDEDIR),include)" \
		SHARED_CACHE="$(SHARED_CACHE)" ffi/install.sh
