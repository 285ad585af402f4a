//! Builds the client from flags and environment variables.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;

use layerfi_auth::{Client, ClientBuilder, Error, Secret};
use zeroize::Zeroizing;

use crate::args::SettingsArgs;
use crate::failure::Failure;

/// The engine's limit for secret files.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The names of a setting that has an environment variable.
struct Setting {
    /// The engine's name, as in `Error::field`.
    name: &'static str,
    variable: &'static str,
    /// The flag, if it was given.
    flag: fn(&SettingsArgs) -> Option<&'static str>,
}

const SETTINGS: [Setting; 11] = [
    Setting {
        name: "environment",
        variable: "LAYER_ENVIRONMENT",
        flag: |args| args.environment.map(|_| "--environment"),
    },
    Setting {
        name: "client_id",
        variable: "LAYER_CLIENT_ID",
        flag: |args| args.client_id.as_ref().map(|_| "--client-id"),
    },
    Setting {
        name: "client_secret",
        variable: "LAYER_CLIENT_SECRET",
        flag: secret_flag,
    },
    Setting {
        name: "client_secret_file",
        variable: "LAYER_CLIENT_SECRET_FILE",
        flag: secret_flag,
    },
    Setting {
        name: "api_url",
        variable: "LAYER_API_URL",
        flag: |args| args.api_url.as_ref().map(|_| "--api-url"),
    },
    Setting {
        name: "auth_url",
        variable: "LAYER_AUTH_URL",
        flag: |args| args.auth_url.as_ref().map(|_| "--auth-url"),
    },
    Setting {
        name: "scope",
        variable: "LAYER_SCOPE",
        flag: |args| args.scope.as_ref().map(|_| "--scope"),
    },
    Setting {
        name: "ca_file",
        variable: "LAYER_CA_FILE",
        flag: |args| args.ca_file.as_ref().map(|_| "--ca-file"),
    },
    Setting {
        name: "trust",
        variable: "LAYER_TRUST",
        flag: |args| args.trust.map(|_| "--trust"),
    },
    Setting {
        name: "shared_cache",
        variable: "LAYER_SHARED_CACHE",
        flag: |args| args.shared_cache.as_ref().map(|_| "--shared-cache"),
    },
    Setting {
        name: "shared_cache_key",
        variable: "LAYER_SHARED_CACHE_KEY",
        flag: |_| None,
    },
];

fn secret_flag(args: &SettingsArgs) -> Option<&'static str> {
    if args.client_secret_stdin {
        Some("--client-secret-stdin")
    } else {
        args.client_secret_file
            .as_ref()
            .map(|_| "--client-secret-file")
    }
}

/// Builds the client. A flag takes precedence over its variable, even if the
/// variable's value is not valid.
pub(crate) fn client(args: &SettingsArgs) -> Result<Client, Failure> {
    check(args)?;
    let failure = |error| setting_failure(error, args);
    let mut builder = ClientBuilder::from_vars(|name| variable(args, name)).map_err(failure)?;
    if let Some(environment) = args.environment {
        builder = builder.environment(environment);
    }
    if let Some(id) = &args.client_id {
        builder = builder.client_id(id);
    }
    if let Some(path) = &args.client_secret_file {
        // Read once, here: a pipe such as `<(vault ...)` can be read only once.
        builder = builder.client_secret(secret_from_file(path, Failure::credentials)?);
    }
    if args.client_secret_stdin {
        builder = builder.client_secret(secret_from_stdin()?);
    }
    if let Some(url) = &args.api_url {
        builder = builder.api_url(url);
    }
    if let Some(url) = &args.auth_url {
        builder = builder.auth_url(url);
    }
    if let Some(scope) = &args.scope {
        builder = builder.scope(scope);
    }
    if let Some(path) = &args.ca_file {
        builder = builder.ca_file(path);
    }
    if let Some(trust) = args.trust {
        builder = builder.trust(trust);
    }
    if let Some(url) = &args.shared_cache {
        builder = builder.shared_cache(url.as_str());
    }
    if let Some(prefix) = &args.shared_cache_prefix {
        builder = builder.shared_cache_prefix(prefix);
    }
    if let Some(url) = &args.proxy {
        builder = builder.proxy(url);
    }
    if args.no_proxy {
        builder = builder.no_proxy();
    }
    if args.allow_http_loopback {
        builder = builder.allow_http_loopback(true);
    }
    builder
        .basic_encoding(args.basic_encoding.into())
        .timeout(args.timeout)
        .allow_opaque_business_ids(args.allow_opaque_business_ids)
        .user_agent(concat!("layerfi-auth-cli/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(failure)
}

/// Returns the secret of the emulator's client, if the user gave one.
pub(crate) fn emulator_secret(args: &SettingsArgs) -> Result<Option<Secret>, Failure> {
    check(args)?;
    if args.client_secret_stdin {
        return secret_from_stdin().map(Some);
    }
    if let Some(path) = &args.client_secret_file {
        return secret_from_file(path, Failure::local).map(Some);
    }
    // Without --client-id the variable is ignored: the secret of a real account
    // must not get into the emulator by accident.
    let variable = args
        .client_id
        .is_some()
        .then(|| std::env::var("LAYER_CLIENT_SECRET").ok());
    Ok(variable
        .flatten()
        .filter(|secret| !secret.is_empty())
        .map(Secret::new))
}

/// Reads an environment variable; `None` if a flag replaces it.
fn variable(args: &SettingsArgs, name: &str) -> Option<OsString> {
    let replaced = match name {
        "LAYER_ALLOW_HTTP_LOOPBACK" => args.allow_http_loopback,
        _ => SETTINGS
            .iter()
            .any(|setting| setting.variable == name && (setting.flag)(args).is_some()),
    };
    if replaced {
        None
    } else {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }
}

/// Makes a failure that names the flag or variable that holds the wrong value.
fn setting_failure(error: Error, args: &SettingsArgs) -> Failure {
    let setting = SETTINGS
        .iter()
        .find(|setting| Some(setting.name) == error.field());
    let origin = match setting {
        Some(setting) => (setting.flag)(args)
            .or_else(|| variable(args, setting.variable).map(|_| setting.variable))
            .or((setting.name == "client_secret").then_some("the client secret")),
        None => None,
    };
    Failure::setting(error, origin)
}

/// Checks the combinations of global flags, which clap cannot check.
fn check(args: &SettingsArgs) -> Result<(), Failure> {
    if args.client_secret_stdin && args.client_secret_file.is_some() {
        return Err(Failure::usage(
            "--client-secret-file and --client-secret-stdin cannot be used together",
            "give one of them",
            Some("client_secret"),
        ));
    }
    if args.no_proxy && args.proxy.is_some() {
        return Err(Failure::usage(
            "--proxy and --no-proxy cannot be used together",
            "give one of them",
            Some("proxy"),
        ));
    }
    if args.proxy.as_ref().is_some_and(|url| url.contains('@')) {
        return Err(Failure::usage(
            "--proxy must not contain a user name or password: other users can read arguments in \
             the process list",
            "set HTTPS_PROXY to the URL with user name and password",
            Some("proxy"),
        ));
    }
    if args
        .shared_cache
        .as_ref()
        .is_some_and(|url| url.contains('@'))
    {
        return Err(Failure::usage(
            "--shared-cache must not contain a user name or password: other users can read \
             arguments in the process list",
            "set LAYER_SHARED_CACHE to the URL with user name and password",
            Some("shared_cache"),
        ));
    }
    Ok(())
}

fn secret_from_file(
    path: &Path,
    failure: fn(String, &'static str) -> Failure,
) -> Result<Secret, Failure> {
    let failed = |reason: &str| {
        failure(
            format!("cannot read the client secret from --client-secret-file {path:?}: {reason}"),
            "check the path and its permissions, and that the file contains only the secret",
        )
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error.to_string()))?;
    read_secret(file).map_err(|reason| failed(&reason))
}

fn secret_from_stdin() -> Result<Secret, Failure> {
    read_secret(std::io::stdin().lock()).map_err(|reason| {
        Failure::local(
            format!("cannot read the client secret from standard input: {reason}"),
            "write only the secret to standard input",
        )
    })
}

/// Reads a secret, or returns the reason why it cannot be used.
fn read_secret(from: impl std::io::Read) -> Result<Secret, String> {
    // Full capacity from the start: a growing buffer would leave copies of the
    // secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES as usize + 1));
    from.take(MAX_SECRET_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err("it is larger than 64 KiB".to_owned());
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16 text, not UTF-8".to_owned());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text")?;
    // Editors may write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_end_of_a_secret_is_removed() {
        let secret = read_secret(&b" a b \r\n"[..]).unwrap();
        assert_eq!(secret.expose(), " a b ");
        let secret = read_secret(&b"\xef\xbb\xbfab\n"[..]).unwrap();
        assert_eq!(secret.expose(), "ab");
        assert!(read_secret(&b"\xff\xfea\0"[..]).is_err());
        assert!(read_secret(&b"\n"[..]).is_err());
        assert!(read_secret(&b"\xff"[..]).is_err());
        assert!(read_secret(&vec![b'x'; 64 * 1024 + 1][..]).is_err());
    }

    #[test]
    fn contradictory_flags_are_refused_without_showing_a_password() {
        for args in [
            SettingsArgs {
                client_secret_stdin: true,
                client_secret_file: Some("x".into()),
                ..SettingsArgs::default()
            },
            SettingsArgs {
                no_proxy: true,
                proxy: Some("http://p".into()),
                ..SettingsArgs::default()
            },
            SettingsArgs {
                proxy: Some("http://user:canary@p".into()),
                ..SettingsArgs::default()
            },
            SettingsArgs {
                shared_cache: Some("redis://:canary@h".into()),
                ..SettingsArgs::default()
            },
        ] {
            let failure = check(&args).unwrap_err();
            assert!(!format!("{failure:?}").contains("canary"));
        }
    }
}
