//! The calls of Layer's documentation, as a reader would type them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use common::{curl, start};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator, Endpoint,
};
use serde_json::{Value, json};

#[test]
fn the_documented_calls_work_over_http_and_https() {
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
            assert_eq!(code, 0, "{text}");
            serde_json::from_str(&text).unwrap()
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
        assert_eq!(answer["expires_in"], 3600);
        assert_eq!(answer["token_type"], "Bearer");
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
            }})
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
        assert_eq!(answer["expires_in"], 3600);
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer.as_object().unwrap().len(), 3, "a bare AuthToken");

        for endpoint in [Endpoint::Token, Endpoint::Whoami, Endpoint::AuthToken] {
            assert_eq!(layer.count(endpoint), 1);
        }
        assert_eq!(layer.counters().connections, 3);
        let versions: Vec<_> = layer.log().iter().map(|entry| entry.http_version).collect();
        assert_eq!(versions, [if tls { "HTTP/2" } else { "HTTP/1.1" }; 3]);
        let _ = std::fs::remove_file(file);
    }
}
