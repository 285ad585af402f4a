//! Linker options of the shared library. The number in its SONAME is the ABI version in
//! `src/version.rs`; a test compares the two.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,liblayerfi_auth.so.1");
        // An undefined symbol is an error of this build, not of the user's.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,defs");
        // Symbols are bound when the library is loaded. glibc's lazy resolver would save
        // vector registers, with bytes of secrets, on the stack.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
    }
}
