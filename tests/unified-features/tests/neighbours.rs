//! The engine in a program whose other libraries enable many features of shared
//! dependencies. Cargo unifies them, so that the engine is compiled with them too.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use layerfi_auth::ErrorKind;
use layerfi_auth_emulator::{Emulator, Endpoint, Fault};
use layerfi_auth_tests::{
    Binding, Canary, Transport, accept, client_builder, emulator, emulator_variables,
    multi_thread_runtime, read_table, remove_settings, run,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn over_tls() -> Emulator {
    Emulator::builder().tls(true).start_blocking().unwrap()
}

/// `{"access_token": "x", "token_type": "Bearer", "expires_in": 3600}`, compressed.
const GZIPPED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0x4a, 0x4c, 0x4e, 0x4e,
    0x2d, 0x2e, 0x8e, 0x2f, 0xc9, 0xcf, 0x4e, 0xcd, 0x53, 0xb2, 0x52, 0x50, 0xaa, 0x50, 0xd2, 0x51,
    0x50, 0x02, 0xf3, 0xe2, 0x4b, 0x2a, 0x0b, 0x52, 0x41, 0x42, 0x4e, 0xa9, 0x89, 0x45, 0xa9, 0x45,
    0x20, 0xf1, 0xd4, 0x8a, 0x82, 0xcc, 0xa2, 0xd4, 0xe2, 0xf8, 0x4c, 0x90, 0x52, 0x63, 0x33, 0x03,
    0x83, 0x5a, 0x00, 0x83, 0x8e, 0x38, 0x52, 0x41, 0x00, 0x00, 0x00,
];

#[test]
fn b28_compressed_responses_are_refused_and_not_decompressed() {
    let plain = &br#"{"access_token": "x", "token_type": "Bearer", "expires_in": 3600}"#[..];
    for (coding, body) in [
        ("gzip", GZIPPED),
        ("deflate", plain),
        ("br", plain),
        ("zstd", plain),
    ] {
        for layer in [emulator(), over_tls()] {
            let fault = Fault::default()
                .bytes(body)
                .header("content-type", "application/json")
                .header("content-encoding", coding);
            layer.fault(Endpoint::Token, fault.forever()).unwrap();
            let client = client_builder(&layer).max_attempts(1);
            let error = client.build_blocking().unwrap().token().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{coding}: {error}");
            assert!(
                error.to_string().contains("compressed response"),
                "{coding}: {error}"
            );
        }
    }
}

#[test]
fn b28_requests_have_no_headers_of_other_libraries() {
    let layer = emulator();
    let cookie = Fault::default().header("set-cookie", "a=b; Path=/");
    layer.add_fault(cookie.forever()).unwrap();
    let target = layer.address();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&sent);
    let (relay, _runtime) = accept(move |client| {
        let recorded = Arc::clone(&recorded);
        async move {
            let (mut from_client, mut to_client) = client.into_split();
            let server = TcpStream::connect(target).await.unwrap();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                recorded.lock().unwrap().extend_from_slice(&bytes[..length]);
                if to_server.write_all(&bytes[..length]).await.is_err() {
                    break;
                }
            }
        }
    });
    let client = client_builder(&layer)
        .api_url(format!("http://{relay}"))
        .auth_url(format!("http://{relay}/oauth2/token"))
        .build_blocking()
        .unwrap();
    for _ in 0..2 {
        client.whoami().unwrap();
    }
    let sent = String::from_utf8(sent.lock().unwrap().clone()).unwrap();
    let mut names: Vec<_> = sent
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(
        names,
        [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "user-agent"
        ],
        "the headers of a token request and of whoami"
    );
}

#[test]
fn b28_proxy_variables_do_not_apply_to_loopback_or_without_a_proxy() {
    let layer = emulator();
    let canary = Canary::new();
    let mut probe = Command::new(env!("CARGO_BIN_EXE_unified_env_probe"));
    remove_settings(&mut probe);
    probe.envs(emulator_variables(&layer));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        probe.env(name, canary.url());
        probe.env(name.to_ascii_lowercase(), canary.url());
    }
    let output = probe.output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout);
    assert!(output.starts_with("ok "), "{output}");
    assert!(!canary.was_contacted(), "the proxy was used for loopback");
}

#[test]
fn b28_crypto_provider_of_the_program_is_not_used() {
    let mut broken = rustls::crypto::aws_lc_rs::default_provider();
    broken.cipher_suites.clear();
    broken.kx_groups.clear();
    // Only the first provider of a process is installed.
    broken.install_default().unwrap();
    let layer = over_tls();
    let client = client_builder(&layer).build_blocking().unwrap();
    client.whoami().unwrap();
}

#[test]
fn b28_shared_table_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let runtime = multi_thread_runtime(2);
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "json") {
            cases.extend(read_table(&path));
        }
    }
    assert!(cases.len() > 70, "only {} cases were found", cases.len());
    let cases = Mutex::new(cases);
    let failures = Mutex::new(Vec::new());
    let next = || cases.lock().unwrap().pop();
    // Most cases wait for a timeout or a back-off.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(case) = next() {
                    if let Err(why) = run(&case, Binding::Async, Transport::Plain, &runtime) {
                        let failure = format!("{}: {why}", case.name);
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn b26_scarce_descriptors_are_a_retryable_error_that_heals() {
    for call in ["token", "whoami"] {
        let layer = emulator();
        let output = Command::new(env!("CARGO_BIN_EXE_unified_scarcity_probe"))
            .args(["descriptors", call])
            .envs(emulator_variables(&layer))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && errors.is_empty(),
            "{call}: the probe ended with {}: {errors}",
            output.status
        );
    }
}

/// Tokio's feature `signal` is enabled, so that Tokio has lost its own pipe.
#[test]
fn b19_b25_closed_signal_pipe_of_tokio_is_told_and_nothing_is_sent_to_its_number() {
    let layer = emulator();
    let output = Command::new(env!("CARGO_BIN_EXE_unified_descriptors_probe"))
        .arg("signals")
        .envs(emulator_variables(&layer))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(status.success(), "the probe ended with {status}: {errors}");
}
