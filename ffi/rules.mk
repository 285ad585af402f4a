# Targets of the C and C++ binding. The Makefile at the root includes this file.

.PHONY: setup-ffi test-ffi lint-ffi header install bench-ffi

# Tools that the tests need in addition to Rust, gcc and Python: a command or a pkg-config
# module, and the Debian package that contains it.
FFI_COMMANDS = g++:g++ clang:clang clang++:clang clang-format:clang-format valgrind:valgrind \
	cmake:cmake pkg-config:pkg-config make:make readelf:binutils
FFI_MODULES = libcurl:libcurl4-openssl-dev
FFI_C_SOURCES = include/layerfi_auth.hpp tests/c/*.[ch] tests/cpp/*.cpp ffi/examples/*.c \
	ffi/examples/*.cpp tests/hostile/*.c ffi/tests/consumer/*.c ffi/tests/consumer/*.cpp ffi/benches/*.c

setup-ffi: ## Installs the tools for the C tests (Debian, as root)
	@missing=""; \
	for pair in $(FFI_COMMANDS); do \
		command -v "$${pair%%:*}" >/dev/null 2>&1 || missing="$$missing $${pair#*:}"; \
	done; \
	for pair in $(FFI_MODULES); do \
		pkg-config --exists "$${pair%%:*}" 2>/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then \
		echo "The C tests need these packages:$$missing. Install them, or run 'make setup-ffi' as root on Debian." >&2; \
		exit 1; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt="apt-get -o DPkg::Lock::Timeout=300"; \
	$$apt install --yes --no-install-recommends $$missing || \
		{ $$apt update && $$apt install --yes --no-install-recommends $$missing; }

test-ffi: setup-ffi ## Tests C and C++: programs, sanitizers, valgrind, installation
	$(CARGO) test --package layerfi-auth-ffi

lint-ffi: setup-ffi ## Checks the format of C and C++
	clang-format --style=file:ffi/.clang-format --dry-run --Werror $(FFI_C_SOURCES)

header: ## Generates include/layerfi_auth.h and ffi/abi.txt
	UPDATE_HEADER=1 $(CARGO) test --package layerfi-auth-ffi --test binding -- up_to_date only_with_its_version

# Optimized for size: a quarter smaller, and cached tokens are as fast.
FFI_RELEASE = CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_BENCH_OPT_LEVEL=s

PREFIX ?= /usr/local
install: ## Installs the C library (PREFIX, LIBDIR, INCLUDEDIR, DESTDIR)
	$(FFI_RELEASE) $(CARGO) build --release --package layerfi-auth-ffi
	BUILT="$(or $(CARGO_TARGET_DIR),target)/release" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" \
		LIBDIR="$(or $(LIBDIR),lib)" INCLUDEDIR="$(or $(INCLUDEDIR),include)" ffi/install.sh

bench-ffi: setup-ffi ## Measures C calls and the size of the library
	$(FFI_RELEASE) $(CARGO) bench --package layerfi-auth-ffi
