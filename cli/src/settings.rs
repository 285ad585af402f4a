//! From flags and variables to a client. Flags win.

use std::io::Read as _;
use std::path::Path;

use layerfi_auth::{Client, ClientBuilder, Secret};
use zeroize::Zeroizing;

use crate::args::SettingsArgs;
use crate::failure::Failure;

/// As in a secret file.
const LONGEST_SECRET: u64 = 64 * 1024;

/// The client that the flags and the environment describe.
pub(crate) fn client(args: &SettingsArgs) -> Result<Client, Failure> {
    check(args)?;
    let mut builder = ClientBuilder::from_vars(|name| {
        // A flag takes the place of its variable, even of one that is wrong.
        if replaced(args, name) {
            None
        } else {
            std::env::var_os(name)
        }
    })?;
    if let Some(environment) = args.environment {
        builder = builder.environment(environment);
    }
    if let Some(id) = &args.client_id {
        builder = builder.client_id(id);
    }
    if let Some(path) = &args.client_secret_file {
        // Once is enough for a command, and a pipe, as of `<(vault ...)`,
        // gives it once.
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
    if let Some(url) = &args.proxy {
        builder = builder.proxy(url);
    }
    if args.no_proxy {
        builder = builder.no_proxy();
    }
    if args.allow_http_loopback {
        builder = builder.allow_http_loopback(true);
    }
    let client = builder
        .basic_encoding(args.basic_encoding.into())
        .timeout(args.timeout)
        .allow_opaque_business_ids(args.allow_opaque_business_ids)
        .user_agent(concat!("layerfi-auth-cli/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

/// The secret that the emulator's client is to have, if one was given.
pub(crate) fn emulator_secret(args: &SettingsArgs) -> Result<Option<Secret>, Failure> {
    check(args)?;
    if args.client_secret_stdin {
        return secret_from_stdin().map(Some);
    }
    if let Some(path) = &args.client_secret_file {
        return secret_from_file(path, Failure::local).map(Some);
    }
    // Without an id of its own, the emulator plays its public default: the
    // secret of a real account must not end up in it by accident.
    let given = args
        .client_id
        .is_some()
        .then(|| std::env::var("LAYER_CLIENT_SECRET").ok());
    Ok(given
        .flatten()
        .filter(|secret| !secret.is_empty())
        .map(Secret::new))
}

fn replaced(args: &SettingsArgs, variable: &str) -> bool {
    match variable {
        "LAYER_ENVIRONMENT" => args.environment.is_some(),
        "LAYER_CLIENT_ID" => args.client_id.is_some(),
        "LAYER_CLIENT_SECRET" | "LAYER_CLIENT_SECRET_FILE" => {
            args.client_secret_file.is_some() || args.client_secret_stdin
        }
        "LAYER_API_URL" => args.api_url.is_some(),
        "LAYER_AUTH_URL" => args.auth_url.is_some(),
        "LAYER_SCOPE" => args.scope.is_some(),
        "LAYER_CA_FILE" => args.ca_file.is_some(),
        "LAYER_ALLOW_HTTP_LOOPBACK" => args.allow_http_loopback,
        _ => false,
    }
}

/// What clap cannot check for flags that stand on both sides of a command.
fn check(args: &SettingsArgs) -> Result<(), Failure> {
    if args.client_secret_stdin && args.client_secret_file.is_some() {
        return Err(Failure::usage(
            "--client-secret-file and --client-secret-stdin are both given",
            "give one of them",
            Some("client_secret"),
        ));
    }
    if args.no_proxy && args.proxy.is_some() {
        return Err(Failure::usage(
            "--proxy and --no-proxy are both given",
            "give one of them",
            Some("proxy"),
        ));
    }
    // A password in a proxy's URL is a secret as well.
    if args.proxy.as_ref().is_some_and(|url| url.contains('@')) {
        return Err(Failure::usage(
            "the proxy's user name and password are never taken as an argument",
            "set HTTPS_PROXY to the URL that holds them",
            Some("proxy"),
        ));
    }
    Ok(())
}

fn secret_from_file(
    path: &Path,
    failure: fn(String, &'static str) -> Failure,
) -> Result<Secret, Failure> {
    let failed = |why: &str| {
        failure(
            format!("the client secret cannot be taken from {path:?}: {why}"),
            "check --client-secret-file, who may read it, and that it has the secret and nothing \
             else",
        )
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error.to_string()))?;
    read_secret(file).map_err(|why| failed(&why))
}

fn secret_from_stdin() -> Result<Secret, Failure> {
    read_secret(std::io::stdin().lock()).map_err(|why| {
        Failure::local(
            format!("the client secret cannot be taken from standard input: {why}"),
            "give the secret and nothing else",
        )
    })
}

/// The secret, or why there is none.
fn read_secret(from: impl std::io::Read) -> Result<Secret, String> {
    // Room for it all from the start: a growing buffer leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_SECRET as usize + 1));
    from.take(LONGEST_SECRET + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err("it is larger than 64 KiB".to_owned());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text")?;
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
    fn a_secret_loses_its_line_end_only() {
        let secret = read_secret(&b" a b \r\n"[..]).unwrap();
        assert_eq!(secret.expose(), " a b ");
        assert!(read_secret(&b"\n"[..]).is_err());
        assert!(read_secret(&b"\xff"[..]).is_err());
        assert!(read_secret(&vec![b'x'; 64 * 1024 + 1][..]).is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
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
        ] {
            let failure = check(&args).unwrap_err();
            assert!(!format!("{failure:?}").contains("canary"));
        }
    }
}
