//! TLS sessions: which new connections resume one, and which must not.

use std::time::Duration;

use bytes::Bytes;
use layerfi_auth::{ClientBuilder, ErrorKind, Trust, blocking};
use layerfi_auth_emulator::{Emulator, Endpoint, Fault};
use layerfi_auth_tests::{
    Authority, TlsFront, assert_new_token, client_builder, emulator, wait_for,
};

use crate::scripted_server::{Connection, ScriptedServer};

fn front(layer: &Emulator, authority: &Authority) -> TlsFront {
    TlsFront::start(layer.address(), authority.server(&["127.0.0.1"]))
}

/// A client of both, over one server.
fn builder(layer: &Emulator, front: &TlsFront) -> ClientBuilder {
    client_builder(layer)
        .api_url(front.url())
        .auth_url(format!("{}/oauth2/token", front.url()))
        .trust(Trust::CaOnly)
}

/// Calls that use all connections of a client: to the token endpoint and to the API.
fn use_all_connections(client: &blocking::Client) {
    let token = client.token().unwrap();
    assert_new_token(&client.renew_token(&token).unwrap(), &token);
    client.whoami().unwrap();
}

/// Asserts that `make_connections` makes some, and that all resume a session.
#[track_caller]
fn assert_all_resumed(front: &TlsFront, make_connections: impl FnOnce()) {
    let handshakes = front.handshakes();
    let before = (handshakes.full(), handshakes.resumed());
    make_connections();
    assert!(
        handshakes.full() + handshakes.resumed() > before.0 + before.1,
        "no connection was made"
    );
    assert_eq!(
        handshakes.full(),
        before.0,
        "full handshakes, after the first connections"
    );
}

#[test]
fn b22_connection_after_a_closed_one_resumes_its_tls_session() {
    let layer = emulator();
    let authority = Authority::new();
    let front = front(&layer, &authority);
    let client = builder(&layer, &front)
        .ca_pem(authority.pem())
        .build_blocking()
        .unwrap();
    use_all_connections(&client);
    for _ in 0..3 {
        assert_all_resumed(&front, || {
            front.close_all();
            use_all_connections(&client);
        });
    }
}

#[test]
fn b22_connection_after_goaway_resumes_its_tls_session() {
    for script in [
        &[Connection::Http1] as &[_],
        &[Connection::Http2],
        &[Connection::GoAway { last_stream: 0 }, Connection::Http2],
    ] {
        let layer = emulator();
        let server = ScriptedServer::start(script);
        let client = client_builder(&layer)
            .api_url(server.url())
            .ca_pem(server.ca_pem())
            .trust(Trust::CaOnly)
            .build_blocking()
            .unwrap();
        for number in 1..=4 {
            let request = http::Request::post("/v1/payments").body(Bytes::from_static(b"{}"));
            client.execute(request.unwrap()).unwrap();
            wait_for("the server has closed the connection", || {
                server.ended() >= number * script.len()
            });
        }
        let handshakes = server.handshakes();
        assert_eq!(
            (handshakes.full(), handshakes.resumed()),
            (1, 4 * script.len() - 1),
            "full and resumed handshakes"
        );
    }
}

/// A connection without an answer is left, with all others of its pool.
#[test]
fn b22_connection_after_a_timeout_resumes_the_tls_session() {
    let layer = emulator();
    let authority = Authority::new();
    let front = front(&layer, &authority);
    let client = builder(&layer, &front)
        .ca_pem(authority.pem())
        .max_attempts(1)
        .build_blocking()
        .unwrap();
    use_all_connections(&client);
    for _ in 0..3 {
        layer.fault(Endpoint::Whoami, Fault::hold()).unwrap();
        let short = client.with_timeout(Duration::from_secs(1));
        let error = short.get("/whoami").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_all_resumed(&front, || {
            client.get("/whoami").unwrap();
        });
        layer.release();
    }
}

#[test]
fn b22_clients_with_different_trust_share_no_tls_session() {
    let layer = emulator();
    let authority = Authority::new();
    let other = Authority::new();
    let front = front(&layer, &authority);
    let both = authority.pem() + &other.pem();
    let mut clients = Vec::new();
    for (number, builder) in [
        builder(&layer, &front).ca_pem(authority.pem()),
        builder(&layer, &front).ca_pem(both),
        builder(&layer, &front)
            .ca_pem(authority.pem())
            .trust(Trust::Bundled),
    ]
    .into_iter()
    .enumerate()
    {
        let client = builder.build_blocking().unwrap();
        let before = front.handshakes().full();
        client.token().unwrap();
        assert_eq!(
            front.handshakes().full(),
            before + 1,
            "full handshakes of client {number}"
        );
        client.whoami().unwrap();
        clients.push(client);
    }
    let stranger = builder(&layer, &front)
        .ca_pem(other.pem())
        .build_blocking()
        .unwrap();
    let error = stranger.token().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
}

/// A resumed handshake has no certificate, so nothing would verify it.
#[test]
fn b22_tls_session_of_an_authority_that_was_removed_is_not_resumed() {
    let layer = emulator();
    let (removed, added) = (Authority::new(), Authority::new());
    let auth = front(&layer, &removed);
    let api = front(&layer, &added);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, removed.pem()).unwrap();
    let client = builder(&layer, &api)
        .auth_url(format!("{}/oauth2/token", auth.url()))
        .ca_file(&file)
        .build_blocking()
        .unwrap();
    let token = client.token().unwrap();
    std::fs::write(&file, added.pem()).unwrap();
    // Its certificate is not accepted, so that the file is read again.
    client.whoami().unwrap();
    let error = client.renew_token(&token).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert_eq!(auth.handshakes().resumed(), 0, "resumed handshakes");
}
