//! `docs/errors.md`, which lists the mistakes of the shared table with their errors.
//! `make pages` writes it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use layerfi_auth::ErrorKind;
use layerfi_auth_tests::vectors::{DATE, NUMBER, PROXY, named, variable_of};
use serde_json::Value;

const HEAD: &str = "# Errors

Each line is a mistake or a failure, with the message, the remedy and the kind of its error. \
All are the same in Rust, Python, C and C++; a test compares them word for word. `HOST` stands \
for a host and a port, `PROXY` for those of a proxy, `PATH` for a path, `N` for a number, `DATE` \
for a date. A remedy names a setting as you set it: `client_id` in a program that uses the \
builder, `LAYER_CLIENT_ID` in one that uses `from_env`, and `--client-id` or the variable in the \
command. *Retry* says whether the same call may succeed later, without a change by you; the \
client has already retried by then.

This page is generated from `tests/vectors/mistakes.json`.
";

fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.ancestors().nth(2).unwrap().to_owned()
}

fn rows() -> Vec<Value> {
    let path = repository().join("tests/vectors/mistakes.json");
    let table: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    table["cases"].as_array().unwrap().clone()
}

fn error(row: &Value) -> &Value {
    &row["steps"].as_array().unwrap().last().unwrap()["expect"]["error"]
}

/// Heading of the errors of a kind.
fn heading(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "Settings",
        ErrorKind::InvalidArgument => "Arguments",
        ErrorKind::Credentials => "Reading the credentials",
        ErrorKind::OAuth => "Refused by the token endpoint",
        ErrorKind::Api => "Other answers of the token endpoint and the API",
        ErrorKind::RateLimited => "Too many requests",
        ErrorKind::Transport => "Connections",
        ErrorKind::Timeout => "Timeouts",
        ErrorKind::Tls => "TLS",
        ErrorKind::Protocol => "Answers that are not valid",
        _ => "Other",
    }
}

fn page(rows: &[Value]) -> String {
    let mut page = HEAD.to_owned();
    for kind in ErrorKind::ALL {
        let of_kind: Vec<_> = rows
            .iter()
            .filter(|row| error(row)["kind"] == kind.as_str())
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        write!(
            page,
            "\n## {}: `{kind}`\n\n| mistake or failure | message | remedy | retry |\n| --- | --- | \
             --- | --- |\n",
            heading(kind)
        )
        .unwrap();
        for row in of_kind {
            let error = error(row);
            let text = |field: &str| {
                let is_variable = row.get("variables").is_some() && field == "remedy";
                let name = |setting: &str| match variable_of(setting) {
                    Some(variable) if is_variable => variable,
                    _ => setting.to_owned(),
                };
                let text = error[field].as_str().unwrap();
                named(text, name)
                    .replace("{{host}}", "HOST")
                    .replace("{{files}}", "PATH")
                    .replace(PROXY, "PROXY")
                    .replace(DATE, "DATE")
                    .replace(NUMBER, "N")
                    .replace('|', "\\|")
                    .replace('<', "&lt;")
            };
            let retry = if error["retryable"] == true {
                "yes"
            } else {
                "no"
            };
            writeln!(
                page,
                "| {} | {} | {} | {retry} |",
                row["why"].as_str().unwrap(),
                text("message"),
                text("remedy")
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn the_errors_page_is_up_to_date() {
    let path = repository().join("docs/errors.md");
    let page = page(&rows());
    if std::env::var_os("UPDATE_ERRORS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/errors.md is out of date: run make pages"
    );
}

/// A remedy must help: it is short, names what to do, and is not a bare guess.
#[test]
fn every_mistake_has_a_message_and_a_remedy_that_help() {
    let rows = rows();
    assert!(rows.len() > 100, "only {} mistakes", rows.len());
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        for field in ["message", "remedy"] {
            let text = error(row)[field].as_str().unwrap_or_default();
            assert!(
                (15..=260).contains(&text.len()),
                "the {field} of {name} has {} bytes",
                text.len()
            );
            for weak in ["report this", "may help", "see the documentation", "?"] {
                let marks = ["? or #", "/ ? # @"];
                let is_allowed = weak == "?" && marks.iter().any(|list| text.contains(list));
                assert!(
                    !text.contains(weak) || is_allowed,
                    "the {field} of {name} says {weak:?}"
                );
            }
        }
    }
}
