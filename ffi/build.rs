//! The shared library's name for the loader. Its number is that of the ABI,
//! which `src/version.rs` has and a test holds the two together.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,liblayerfi_auth.so.1");
        // A symbol that nobody defines is found now and not by the user.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,defs");
        // Symbols are bound when the library is loaded. glibc's lazy resolver would save
        // vector registers, with bytes of secrets, on the stack.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
    }
}
