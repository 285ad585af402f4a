#!/bin/sh
# Builds the C library as `make install` installs it. `make lib` runs this.
#   OUT           the directory for the result
#   SHARED_CACHE  1 to build with the Cargo feature redis
#   GLIBC         the glibc that it must work with, such as 2.17, instead of this system's.
#                 Needs ziglang and cargo-zigbuild
#   FROM          a directory with a built liblayerfi_auth.so and .a, instead of a build
set -eu
cd "$(dirname "$0")/.."
: "${OUT:?must be the directory for the result}" "${FROM:=}" "${GLIBC:=}"
[ "${SHARED_CACHE:=0}" = 0 ] || SHARED_CACHE=1
: "${CARGO:=cargo}" "${LD:=ld}" "${OBJCOPY:=objcopy}" "${AR:=ar}"

for program in "$LD" "$OBJCOPY" "$AR" ${FROM:-"$CARGO"}; do
    [ -d "$program" ] || command -v "$program" >/dev/null || {
        echo "make lib: $program is missing. The build needs Rust 1.89 or later, a C" \
            "compiler, and binutils (Debian: gcc binutils)" >&2
        exit 1
    }
done

if [ -z "$FROM" ]; then
    FROM=${CARGO_TARGET_DIR:-target}/release
    command=build
    options=
    [ "$SHARED_CACHE" = 0 ] || options="--features redis"
    host=$(rustc -vV | sed -n 's/^host: //p')
    if [ -n "$GLIBC" ]; then
        FROM=${CARGO_TARGET_DIR:-target}/$host/release
        command=zigbuild
        options="$options --locked --target $host.$GLIBC"
    fi
    # Panic messages name source files. Without the folder of the downloads they are 20 kB
    # shorter, and do not show the home of whoever built the library. An environment with
    # RUSTFLAGS takes precedence.
    "$CARGO" fetch --quiet --target "$host"
    set --
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
        [ ! -d "$folder" ] || set -- "$@" --config "build.rustflags=['--remap-path-prefix=$folder=']"
    done
    # shellcheck disable=SC2086 # A list of options: splitting is intended.
    "$CARGO" $command --release --package layerfi-auth-ffi $options "$@"
fi

mkdir -p "$OUT"
# Without this file, `make install` says that the library is not built.
rm -f "$OUT/built"
cp "$FROM/liblayerfi_auth.so" "$OUT/liblayerfi_auth.so"

# One object with only the functions of the header visible, so that a program may link
# another Rust library, or its own copy of a library that is in this one.
roots=$(sed -n 's/^.*\b\(layerfi_[a-z0-9_]*\)(.*$/-u \1/p' include/layerfi_auth.h | grep -v '\*' | sort -u)
# shellcheck disable=SC2086 # A list of options: splitting is intended.
"$LD" -r --gc-sections --strip-debug $roots -o "$OUT/layerfi_auth.o" "$FROM/liblayerfi_auth.a"
# The bitcode of Rust's standard library is not needed any more, and ar fails on it if
# the plugin of an older LLVM is installed.
"$OBJCOPY" --wildcard --keep-global-symbol='layerfi_*' \
    --remove-section .llvmbc --remove-section .llvmcmd --strip-debug "$OUT/layerfi_auth.o"
rm -f "$OUT/liblayerfi_auth.a"
"$AR" rcsD "$OUT/liblayerfi_auth.a" "$OUT/layerfi_auth.o"
rm "$OUT/layerfi_auth.o"
echo "$(ffi/number ABI_VERSION).$(ffi/number ABI_REVISION) $SHARED_CACHE" >"$OUT/built"
echo "built the C library in $OUT; to install it: make install, as root if PREFIX needs it"
