//! The calls of Layer's documentation, as a reader would type them.

use std::process::Command;

use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator, Endpoint,
};
use serde_json::Value;

fn curl(args: &[&str]) -> Value {
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*"])
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_documented_calls_work_over_http_and_https() {
    for tls in [false, true] {
        let layer = Emulator::builder().tls(tls).start_blocking().unwrap();
        let file =
            std::env::temp_dir().join(format!("layerfi-ca-{}-{tls}.pem", std::process::id()));
        let ca = file.to_str().unwrap().to_owned();
        let trust: Vec<&str> = if tls {
            layer.write_ca_pem(&file).unwrap();
            vec!["--cacert", &ca]
        } else {
            vec![]
        };
        let user = format!("{DEFAULT_CLIENT_ID}:{DEFAULT_CLIENT_SECRET}");
        let scope = format!("scope={}", layer.scope());
        let id = format!("client_id={DEFAULT_CLIENT_ID}");
        let url = layer.token_url();
        let mut call = trust.clone();
        call.extend(["-X", "POST", &url, "-u", &user]);
        call.extend(["-H", "Content-Type: application/x-www-form-urlencoded"]);
        call.extend(["--data-urlencode", "grant_type=client_credentials"]);
        call.extend(["--data-urlencode", &scope, "--data-urlencode", &id]);
        let answer = curl(&call);
        assert_eq!(answer["expires_in"], 3600);
        assert_eq!(answer["token_type"], "Bearer");
        let bearer = format!(
            "Authorization: Bearer {}",
            answer["access_token"].as_str().unwrap()
        );

        let url = format!("{}/whoami", layer.url());
        let mut call = trust.clone();
        call.extend([&url, "-H", &bearer]);
        assert_eq!(
            curl(&call),
            serde_json::json!({"data": {
                "type": "whoami",
                "clientName": "Layer Example",
                "clientId": "018f1657-dc66-7482-917b-c0c0e532f52b",
            }})
        );

        let url = format!(
            "{}/v1/businesses/{DEMO_BUSINESS_ID}/auth-token",
            layer.url()
        );
        let mut call = trust.clone();
        call.extend([
            "-X",
            "POST",
            &url,
            "-H",
            &bearer,
            "-H",
            "Content-Type: application/json",
        ]);
        call.extend(["-d", r#"{"session_duration": "3600"}"#]);
        let answer = curl(&call);
        assert_eq!(answer["expires_in"], 3600);
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer.as_object().unwrap().len(), 3, "a bare AuthToken");

        assert_eq!(layer.count(Endpoint::Token), 1);
        assert_eq!(layer.count(Endpoint::AuthToken), 1);
        assert_eq!(layer.counters().connections, 3);
        let versions: Vec<_> = layer.log().iter().map(|entry| entry.http_version).collect();
        assert_eq!(versions, [if tls { "HTTP/2" } else { "HTTP/1.1" }; 3]);
        let _ = std::fs::remove_file(file);
    }
}
