//! `include/layerfi_auth.h`: generated from the sources, and accepted by every compiler.

use std::sync::Once;

use crate::support::{compile, compile_only, root};

const HEADER: &str = "include/layerfi_auth.h";

/// The order of the sources in the header.
const SOURCES: [&str; 17] = [
    "version",
    "str_view",
    "default",
    "result",
    "error",
    "environment",
    "builder",
    "credentials",
    "client",
    "token",
    "business_token",
    "json",
    "batch",
    "whoami",
    "response",
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

/// Writes the header if `UPDATE_HEADER` is set. Once, for all tests that read it.
pub fn update() {
    static UPDATED: Once = Once::new();
    UPDATED.call_once(|| {
        if std::env::var_os("UPDATE_HEADER").is_some() {
            std::fs::write(root().join(HEADER), generate()).unwrap();
        }
    });
}

#[test]
fn the_header_is_up_to_date() {
    update();
    let made = generate();
    let committed = std::fs::read_to_string(root().join(HEADER)).unwrap_or_default();
    assert!(
        committed == made,
        "include/layerfi_auth.h is not up to date; run `make header`"
    );
}

#[test]
fn the_headers_compile_without_warnings_with_every_compiler_and_standard() {
    update();
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
fn blocks_of_the_guide_compile() {
    update();
    let guide = std::fs::read_to_string(root().join("docs/c.md")).unwrap();
    let blocks: Vec<_> = guide
        .split("\n```c\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 3, "docs/c.md has {} blocks", blocks.len());
    for block in blocks {
        let text = format!(
            "#include <layerfi_auth.h>\n#include <stdio.h>\n\
             void respond(int, const char *, const char *, size_t);\n\
             void use(layerfi_client *, layerfi_client_builder *, const char *, layerfi_error *);\n\
             void use(layerfi_client *client, layerfi_client_builder *builder,\n\
                      const char *business_id, layerfi_error *error) {{\n\
             (void)client; (void)builder; (void)business_id; (void)error;\n\
             {{ {block} }}\n}}\n"
        );
        compile_only("gcc", "c11", &text);
        compile_only("clang", "c11", &text);
    }
}

#[test]
fn clang_warns_of_a_view_of_a_destroyed_object() {
    update();
    let with = |body: &str| {
        let text = format!(
            "#include <layerfi_auth.hpp>\n\
             std::size_t use(const layerfi::Client &client);\n\
             std::size_t use(const layerfi::Client &client) {{ {body} }}\n"
        );
        compile("clang++", "c++17", &text)
    };
    for dangling in [
        "std::string_view view = client.token().authorization(); return view.size();",
        "std::string_view view = client.mint_business_token(\"id\").secret(); return view.size();",
        "std::string_view view = client.token(std::nothrow)->secret(); return view.size();",
        "std::string_view view = client.execute({}).body(); return view.size();",
        "const auto &token = *client.token(std::nothrow); return token.secret().size();",
    ] {
        let output = with(dangling);
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.contains("-Wdangling"), "{dangling}: {output}");
    }
    for valid in [
        "return client.token().authorization().size();",
        "return std::string(client.token(std::nothrow)->secret()).size();",
        "const auto token = client.token(); return token.secret().size();",
    ] {
        let output = with(valid);
        assert!(output.status.success(), "{valid}: {output:?}");
    }
}
