//! The calls of Layer's documentation, made with curl.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use common::{curl, start};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator, Endpoint,
};
use serde_json::{Value, json};

#[test]
fn documented_calls_succeed_over_http_and_https() {
    for tls in [false, true] {
        let layer = start(Emulator::builder().tls(tls));
        let file =
            std::env::temp_dir().join(format!("layerfi-ca-{}-{tls}.pem", std::process::id()));
        let ca = file.to_str().unwrap().to_owned();
        let mut trust = vec![];
        if tls {
            layer.write_ca_pem(&file).unwrap();
            trust = vec!["--cacert", ca.as_str()];
        }
        let call = |args: &[&str]| -> Value {
            let (code, text) = curl(&[&trust, args].concat());
            assert_eq!(code, 0, "curl {args:?} failed: {text}");
            serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("the response is not JSON ({error}): {text}"))
        };
        let expect_token = |answer: &Value| {
            let token = answer["access_token"].as_str().unwrap();
            let expected =
                json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"});
            assert_eq!(*answer, expected, "wrong response of a token request");
        };

        let answer = call(&[
            "-X",
            "POST",
            &layer.token_url(),
            "-u",
            &format!("{DEFAULT_CLIENT_ID}:{DEFAULT_CLIENT_SECRET}"),
            "-H",
            "Content-Type: application/x-www-form-urlencoded",
            "--data-urlencode",
            "grant_type=client_credentials",
            "--data-urlencode",
            &format!("scope={}", layer.scope()),
            "--data-urlencode",
            &format!("client_id={DEFAULT_CLIENT_ID}"),
        ]);
        expect_token(&answer);
        let bearer = format!(
            "Authorization: Bearer {}",
            answer["access_token"].as_str().unwrap()
        );

        assert_eq!(
            call(&[&format!("{}/whoami", layer.url()), "-H", &bearer]),
            json!({"data": {
                "type": "whoami",
                "clientName": "Layer Example",
                "clientId": "018f1657-dc66-7482-917b-c0c0e532f52b",
            }}),
            "wrong response of /whoami"
        );

        let answer = call(&[
            "-X",
            "POST",
            &format!(
                "{}/v1/businesses/{DEMO_BUSINESS_ID}/auth-token",
                layer.url()
            ),
            "-H",
            &bearer,
            "-H",
            "Content-Type: application/json",
            "-d",
            r#"{"session_duration": "3600"}"#,
        ]);
        expect_token(&answer);

        for endpoint in [Endpoint::Token, Endpoint::Whoami, Endpoint::AuthToken] {
            assert_eq!(
                layer.count(endpoint),
                1,
                "wrong number of requests to {endpoint:?}"
            );
        }
        assert_eq!(
            layer.counters().connections,
            3,
            "each call of curl must make one connection"
        );
        let versions: Vec<_> = layer.log().iter().map(|entry| entry.http_version).collect();
        assert_eq!(
            versions,
            [if tls { "HTTP/2" } else { "HTTP/1.1" }; 3],
            "wrong HTTP version with tls = {tls}"
        );
        let _ = std::fs::remove_file(file);
    }
}
