//! `include/layerfi_auth.h` is what cbindgen makes of the sources.

use crate::support::{compile, compile_only, root};

/// The reading order of the header.
const SOURCES: [&str; 13] = [
    "version",
    "string",
    "error",
    "builder",
    "credentials",
    "client",
    "token",
    "business_token",
    "batch",
    "whoami",
    "execute",
    "stats",
    "log",
];

fn generate() -> String {
    let ffi = root().join("ffi");
    let mut config = cbindgen::Config::from_file(ffi.join("cbindgen.toml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.');
    let mut part = || parts.next().unwrap();
    config.after_includes = Some(format!(
        "\n/** The version of this header. */\n#define LAYERFI_VERSION \"{version}\"\n\
         #define LAYERFI_VERSION_MAJOR {}\n#define LAYERFI_VERSION_MINOR {}\n\
         #define LAYERFI_VERSION_PATCH {}",
        part(),
        part(),
        part()
    ));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(ffi.join("src").join(source).with_extension("rs"));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_header_is_up_to_date() {
    let path = root().join("include/layerfi_auth.h");
    let made = generate();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "include/layerfi_auth.h is not what the sources make; run `make header`"
    );
}

#[test]
fn the_header_is_clean_in_every_language_and_compiler() {
    for (compiler, standard) in [
        ("gcc", "c11"),
        ("clang", "c11"),
        ("g++", "c++17"),
        ("clang++", "c++17"),
    ] {
        compile_only(compiler, standard, "#include <layerfi_auth.h>\n");
    }
    for compiler in ["g++", "clang++"] {
        for standard in ["c++17", "c++20"] {
            compile_only(compiler, standard, "#include <layerfi_auth.hpp>\n");
        }
    }
}

#[test]
fn a_view_of_what_is_gone_is_warned_of() {
    let with = |body: &str| {
        let text = format!(
            "#include <layerfi_auth.hpp>\n\
             std::size_t use(const layerfi::Client &client);\n\
             std::size_t use(const layerfi::Client &client) {{ {body} }}\n"
        );
        compile("clang++", "c++17", &text)
    };
    for gone in [
        "std::string_view view = client.token().authorization(); return view.size();",
        "std::string_view view = client.mint_business_token(\"id\").secret(); return view.size();",
        "std::string_view view = client.token(std::nothrow)->secret(); return view.size();",
        "std::string_view view = client.execute({}).body(); return view.size();",
        "const auto &token = *client.token(std::nothrow); return token.secret().size();",
    ] {
        let said = with(gone);
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("-Wdangling"), "{gone}: {said}");
    }
    for there in [
        "return client.token().authorization().size();",
        "return std::string(client.token(std::nothrow)->secret()).size();",
        "const auto token = client.token(); return token.secret().size();",
    ] {
        let said = with(there);
        assert!(said.status.success(), "{there}: {said:?}");
    }
}
