#!/bin/sh
# Installs the C library that ffi/build.sh built. It only copies files, so it needs no
# Rust and may run under sudo. `make install` runs this.
#   BUILT    the directory that ffi/build.sh wrote
#   PREFIX   the prefix, /usr/local by default
#   LIBDIR, INCLUDEDIR   absolute, or relative to PREFIX; lib and include by default
#   DESTDIR  a directory before all paths, for packages
#   RELOCATABLE   1 if the prefix will be moved: layerfi_auth.pc names no absolute path
#   SHARED_CACHE  if set, the library must have been built with the same value
set -eu
cd "$(dirname "$0")/.."
: "${BUILT:?must be the directory of the built library}"
: "${PREFIX:=/usr/local}" "${LIBDIR:=lib}" "${INCLUDEDIR:=include}" "${DESTDIR:=}"
: "${RELOCATABLE:=0}" "${SHARED_CACHE:=}"
# The installed files are for all users, whatever the umask of root is.
umask 022

version=$(ffi/number VERSION)
abi=$(ffi/number ABI_VERSION)
revision=$(ffi/number ABI_REVISION)

fail() {
    echo "make install: $1" >&2
    exit 1
}
[ -e "$BUILT/built" ] ||
    fail "the C library is not built in $BUILT. Run make lib, without sudo, then make install"
read -r built_abi built_shared_cache <"$BUILT/built"
[ "$built_abi" = "$abi.$revision" ] ||
    fail "$BUILT has ABI $built_abi, the header $abi.$revision. Run make lib again"
case $SHARED_CACHE in
'' | "$built_shared_cache") ;;
*)
    [ "$SHARED_CACHE" != 0 ] || fail "the library has the shared cache. Run make lib SHARED_CACHE=0"
    [ "$built_shared_cache" = 1 ] ||
        fail "the library was built without the shared cache. Run make lib SHARED_CACHE=1"
    ;;
esac

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
libdir=$(absolute "$LIBDIR" "$PREFIX")
lib=$DESTDIR$libdir
include=$DESTDIR$(absolute "$INCLUDEDIR" "$PREFIX")
cmake=$lib/cmake/layerfi_auth
mkdir -p "$lib/pkgconfig" "$cmake" "$include" 2>/dev/null ||
    fail "cannot write to $DESTDIR$PREFIX. Use sudo make install, or a PREFIX of your own, for example PREFIX=\$HOME/.local"
[ -w "$lib" ] && [ -w "$include" ] ||
    fail "cannot write to $lib. Use sudo make install, or a PREFIX of your own, for example PREFIX=\$HOME/.local"

install -m 644 include/layerfi_auth.h include/layerfi_auth.hpp "$include"

# liblayerfi_auth.so -> .so.ABI (the SONAME) -> .so.ABI.REVISION.
shared=liblayerfi_auth.so.$abi.$revision
install -m 755 "$BUILT/liblayerfi_auth.so" "$lib/$shared"
ln -sf "$shared" "$lib/liblayerfi_auth.so.$abi"
ln -sf "liblayerfi_auth.so.$abi" "$lib/liblayerfi_auth.so"
install -m 644 "$BUILT/liblayerfi_auth.a" "$lib/liblayerfi_auth.a"

pc_prefix=$PREFIX
if [ "$RELOCATABLE" != 0 ]; then
    case $LIBDIR in
    /*) fail "RELOCATABLE=1 needs a LIBDIR below PREFIX, not $LIBDIR" ;;
    esac
    # From the directory of layerfi_auth.pc: up from pkgconfig and from each part of LIBDIR.
    # shellcheck disable=SC2016 # pkg-config replaces pcfiledir.
    pc_prefix='${pcfiledir}/../'$(echo "$LIBDIR" | sed 's|[^/][^/]*|..|g')
fi

fill() {
    sed -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" -e "s|@SHARED@|$shared|g" \
        -e "s|@SHARED_CACHE@|$built_shared_cache|g" \
        -e "s|@PC_PREFIX@|$pc_prefix|g" \
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

# The loader finds new libraries in its own directories only after ldconfig, and in other
# directories only if the program or the user names them.
[ -z "$DESTDIR" ] && [ "$RELOCATABLE" = 0 ] || exit 0
PATH=$PATH:/usr/sbin:/sbin
command -v ldconfig >/dev/null || exit 0
if ldconfig -v -N -X 2>/dev/null | grep -q "^$libdir:"; then
    if [ "$(id -u)" = 0 ]; then
        ldconfig
    else
        echo "programs find the library after: sudo ldconfig"
    fi
else
    echo "the loader does not search $libdir. Link programs with -Wl,-rpath,$libdir (CMake does it" \
        "for what it builds), or set LD_LIBRARY_PATH=$libdir"
fi
case ${PKG_CONFIG_PATH:-}:$(pkg-config --variable pc_path pkg-config 2>/dev/null) in
*"$libdir/pkgconfig"*) ;;
*) echo "pkg-config does not search it either: set PKG_CONFIG_PATH=$libdir/pkgconfig" ;;
esac
