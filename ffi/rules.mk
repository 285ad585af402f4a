# The C face's doors, for the Makefile at the root.

.PHONY: setup-ffi test-ffi lint-ffi header install bench-ffi

# What the tests need beside Rust, gcc and Python: name of a command or of a
# pkg-config module, and the Debian package that has it.
FFI_COMMANDS = g++:g++ clang:clang clang++:clang clang-format:clang-format valgrind:valgrind \
	cmake:cmake pkg-config:pkg-config make:make readelf:binutils
FFI_MODULES = libcurl:libcurl4-openssl-dev
FFI_C_SOURCES = include/layerfi_auth.hpp tests/c/*.[ch] tests/cpp/*.cpp ffi/examples/*.c \
	ffi/examples/*.cpp tests/hostile/*.c ffi/tests/consumer/*.c ffi/tests/consumer/*.cpp ffi/benches/*.c

setup-ffi: ## Installs what the C face's tests need (Debian, as root)
	@missing=""; \
	for pair in $(FFI_COMMANDS); do \
		command -v "$${pair%%:*}" >/dev/null 2>&1 || missing="$$missing $${pair#*:}"; \
	done; \
	for pair in $(FFI_MODULES); do \
		pkg-config --exists "$${pair%%:*}" 2>/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then \
		echo "The tests of the C face need:$$missing. Install them, or run 'make setup-ffi' as root on Debian." >&2; \
		exit 1; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get install --yes --no-install-recommends $$missing || \
		{ apt-get update && apt-get install --yes --no-install-recommends $$missing; }

test-ffi: setup-ffi ## The C and C++ faces: programs, sanitizers, valgrind, installation
	$(CARGO) test --package layerfi-auth-ffi

lint-ffi: setup-ffi ## Formatting of C and C++
	clang-format --style=file:ffi/.clang-format --dry-run --Werror $(FFI_C_SOURCES)

header: ## Writes include/layerfi_auth.h and ffi/abi.txt from the sources
	UPDATE_HEADER=1 $(CARGO) test --package layerfi-auth-ffi --test binding -- up_to_date only_with_its_version

# Optimized for size: a quarter smaller, and a hit is as quick.
FFI_RELEASE = CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_BENCH_OPT_LEVEL=s

PREFIX ?= /usr/local
install: ## Installs the C library (PREFIX, LIBDIR, INCLUDEDIR, DESTDIR)
	$(FFI_RELEASE) $(CARGO) build --release --package layerfi-auth-ffi
	BUILT="$(or $(CARGO_TARGET_DIR),target)/release" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" \
		LIBDIR="$(or $(LIBDIR),lib)" INCLUDEDIR="$(or $(INCLUDEDIR),include)" ffi/install.sh

bench-ffi: setup-ffi ## What a call of the C face costs, and what the library weighs
	$(FFI_RELEASE) $(CARGO) bench --package layerfi-auth-ffi
