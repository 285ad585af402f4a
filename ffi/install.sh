#!/bin/sh
# Installs the C face. Run by `make install`, which builds first.
#   BUILT    directory with liblayerfi_auth.so and liblayerfi_auth.a
#   PREFIX   where it will live, /usr/local by default
#   LIBDIR, INCLUDEDIR   absolute, or beneath it; lib and include by default
#   DESTDIR  put before all of them, for packagers
set -eu
cd "$(dirname "$0")/.."
: "${BUILT:?is the directory of the built libraries}"
: "${PREFIX:=/usr/local}" "${LIBDIR:=lib}" "${INCLUDEDIR:=include}" "${DESTDIR:=}"
: "${LD:=ld}" "${OBJCOPY:=objcopy}" "${AR:=ar}"

number() {
    sed -n "s/^#define LAYERFI_$1 \"*\([0-9.]*\)\"*$/\1/p" include/layerfi_auth.h
}
version=$(number VERSION)
abi=$(number ABI_VERSION)
revision=$(number ABI_REVISION)

# What lies beneath the prefix is written down as such, so that the prefix can
# be moved together with it.
LIBDIR=${LIBDIR#"$PREFIX/"}
INCLUDEDIR=${INCLUDEDIR#"$PREFIX/"}
# place DIRECTORY PREFIX
place() {
    case $1 in
    /*) echo "$1" ;;
    *) echo "$2/$1" ;;
    esac
}
lib=$DESTDIR$(place "$LIBDIR" "$PREFIX")
include=$DESTDIR$(place "$INCLUDEDIR" "$PREFIX")
cmake=$lib/cmake/layerfi_auth
mkdir -p "$lib/pkgconfig" "$cmake" "$include"

install -m 644 include/layerfi_auth.h include/layerfi_auth.hpp "$include"

# liblayerfi_auth.so -> .so.ABI (the SONAME) -> .so.ABI.REVISION.
shared=liblayerfi_auth.so.$abi.$revision
install -m 755 "$BUILT/liblayerfi_auth.so" "$lib/$shared"
ln -sf "$shared" "$lib/liblayerfi_auth.so.$abi"
ln -sf "liblayerfi_auth.so.$abi" "$lib/liblayerfi_auth.so"

# One object with only the C face visible, so that a program may link a second
# library in Rust, or its own copy of something that is in here.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
roots=$(sed -n 's/^.*\b\(layerfi_[a-z0-9_]*\)(.*$/-u \1/p' include/layerfi_auth.h | grep -v '\*' | sort -u)
# shellcheck disable=SC2086 # Options and names, meant to be split.
"$LD" -r --gc-sections --strip-debug $roots -o "$work/layerfi_auth.o" "$BUILT/liblayerfi_auth.a"
# The bitcode that Rust's standard library carries is of no use any more, and
# makes ar fail where an older LLVM's plugin for it is installed.
"$OBJCOPY" --wildcard --keep-global-symbol='layerfi_*' \
    --remove-section .llvmbc --remove-section .llvmcmd --strip-debug "$work/layerfi_auth.o"
"$AR" rcs "$work/liblayerfi_auth.a" "$work/layerfi_auth.o"
install -m 644 "$work/liblayerfi_auth.a" "$lib/liblayerfi_auth.a"

fill() {
    sed -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" -e "s|@SHARED@|$shared|g" \
        -e "s|@PREFIX@|$PREFIX|g" -e "s|@LIBDIR@|$LIBDIR|g" \
        -e "s|@INCLUDEDIR@|$INCLUDEDIR|g" \
        -e "s|@PC_LIBDIR@|$(place "$LIBDIR" '${prefix}')|g" \
        -e "s|@PC_INCLUDEDIR@|$(place "$INCLUDEDIR" '${prefix}')|g" "$1" >"$2"
    chmod 644 "$2"
}
fill ffi/package/layerfi_auth.pc.in "$lib/pkgconfig/layerfi_auth.pc"
fill ffi/package/layerfi_auth-config.cmake.in "$cmake/layerfi_auth-config.cmake"
fill ffi/package/layerfi_auth-config-version.cmake.in "$cmake/layerfi_auth-config-version.cmake"

echo "layerfi-auth $version (ABI $abi.$revision) is in $lib and $include"
