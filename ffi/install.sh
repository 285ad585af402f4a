#!/bin/sh
# Installs the C library. `make install` builds it first, then runs this.
#   BUILT    directory with liblayerfi_auth.so and liblayerfi_auth.a
#   PREFIX   the prefix, /usr/local by default
#   LIBDIR, INCLUDEDIR   absolute, or relative to PREFIX; lib and include by default
#   DESTDIR  a directory before all paths, for packages
#   SHARED_CACHE   1 if the library was built with the Cargo feature redis
set -eu
cd "$(dirname "$0")/.."
: "${BUILT:?must be the directory of the built libraries}"
: "${PREFIX:=/usr/local}" "${LIBDIR:=lib}" "${INCLUDEDIR:=include}" "${DESTDIR:=}"
[ "${SHARED_CACHE:=0}" = 0 ] || SHARED_CACHE=1
: "${LD:=ld}" "${OBJCOPY:=objcopy}" "${AR:=ar}"

number() {
    sed -n "s/^#define LAYERFI_$1 \"*\([0-9.]*\)\"*$/\1/p" include/layerfi_auth.h
}
version=$(number VERSION)
abi=$(number ABI_VERSION)
revision=$(number ABI_REVISION)

# Paths below the prefix are written relative to it, so that the prefix can be moved.
LIBDIR=${LIBDIR#"$PREFIX/"}
INCLUDEDIR=${INCLUDEDIR#"$PREFIX/"}
# absolute DIRECTORY PREFIX
absolute() {
    case $1 in
    /*) echo "$1" ;;
    *) echo "$2/$1" ;;
    esac
}
lib=$DESTDIR$(absolute "$LIBDIR" "$PREFIX")
include=$DESTDIR$(absolute "$INCLUDEDIR" "$PREFIX")
cmake=$lib/cmake/layerfi_auth
mkdir -p "$lib/pkgconfig" "$cmake" "$include"

install -m 644 include/layerfi_auth.h include/layerfi_auth.hpp "$include"

# liblayerfi_auth.so -> .so.ABI (the SONAME) -> .so.ABI.REVISION.
shared=liblayerfi_auth.so.$abi.$revision
install -m 755 "$BUILT/liblayerfi_auth.so" "$lib/$shared"
ln -sf "$shared" "$lib/liblayerfi_auth.so.$abi"
ln -sf "liblayerfi_auth.so.$abi" "$lib/liblayerfi_auth.so"

# One object with only the functions of the header visible, so that a program may link
# another Rust library, or its own copy of a library that is in this one.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
roots=$(sed -n 's/^.*\b\(layerfi_[a-z0-9_]*\)(.*$/-u \1/p' include/layerfi_auth.h | grep -v '\*' | sort -u)
# shellcheck disable=SC2086 # A list of options: splitting is intended.
"$LD" -r --gc-sections --strip-debug $roots -o "$work/layerfi_auth.o" "$BUILT/liblayerfi_auth.a"
# The bitcode of Rust's standard library is not needed any more, and ar fails on it if
# the plugin of an older LLVM is installed.
"$OBJCOPY" --wildcard --keep-global-symbol='layerfi_*' \
    --remove-section .llvmbc --remove-section .llvmcmd --strip-debug "$work/layerfi_auth.o"
"$AR" rcs "$work/liblayerfi_auth.a" "$work/layerfi_auth.o"
install -m 644 "$work/liblayerfi_auth.a" "$lib/liblayerfi_auth.a"

fill() {
    sed -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" -e "s|@SHARED@|$shared|g" \
        -e "s|@SHARED_CACHE@|$SHARED_CACHE|g" \
        -e "s|@PREFIX@|$PREFIX|g" -e "s|@LIBDIR@|$LIBDIR|g" \
        -e "s|@INCLUDEDIR@|$INCLUDEDIR|g" \
        -e "s|@PC_LIBDIR@|$(absolute "$LIBDIR" '${prefix}')|g" \
        -e "s|@PC_INCLUDEDIR@|$(absolute "$INCLUDEDIR" '${prefix}')|g" "$1" >"$2"
    chmod 644 "$2"
}
fill ffi/package/layerfi_auth.pc.in "$lib/pkgconfig/layerfi_auth.pc"
fill ffi/package/layerfi_auth-config.cmake.in "$cmake/layerfi_auth-config.cmake"
fill ffi/package/layerfi_auth-config-version.cmake.in "$cmake/layerfi_auth-config-version.cmake"

echo "installed layerfi-auth $version (ABI $abi.$revision) in $lib and $include"
