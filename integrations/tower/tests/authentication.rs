//! Requests through the layer, over real connections to an emulator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper_util::client::legacy::{Client as HttpClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use layerfi_auth::{BusinessId, Client, Environment, ErrorKind, SessionDuration, TestClock};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault, TokenKind,
};
use layerfi_auth_test_support::{MAX_WAIT, assert_requests, emulator, multi_thread_runtime};
use layerfi_auth_tower::{AuthError, LayerAuthLayer};
use tower_layer::Layer as _;
use tower_service::Service;

const BUSINESS: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

fn client(layer: &Emulator) -> Client {
    client_with_clock(layer, TestClock::new())
}

fn client_with_clock(layer: &Emulator, clock: TestClock) -> Client {
    Client::builder()
        .environment(Environment::Custom)
        .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .api_url(layer.url())
        .auth_url(layer.token_url())
        .scope(layer.scope())
        .allow_http_loopback(true)
        .max_attempts(1)
        // While the emulator holds a response, no attempt may end.
        .timeout(Duration::from_secs(120))
        .attempt_timeout(Duration::from_secs(120))
        .no_proxy()
        .test_clock(clock)
        .build()
        .unwrap()
}

fn http<B>() -> HttpClient<HttpConnector, B>
where
    B: http_body::Body<Data = Bytes> + Send,
{
    HttpClient::builder(TokioExecutor::new()).build_http()
}

fn get(layer: &Emulator, path: &str) -> Request<Full<Bytes>> {
    let url = format!("{}{path}", layer.url());
    Request::get(url).body(Full::default()).unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let bounded = async { tokio::time::timeout(MAX_WAIT, test).await };
    let result = multi_thread_runtime(2).block_on(bounded);
    result.expect("a request was never answered")
}

/// Sends a request as a `tower` program does: waits until the service is ready.
async fn send<S, B>(mut service: S, request: Request<B>) -> Result<S::Response, S::Error>
where
    S: Service<Request<B>>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

#[test]
fn b19_request_gets_the_token_as_a_sensitive_header() {
    let layer = emulator();
    let client = client(&layer);
    let echo = ReadyOnce::new(|request: Request<()>| {
        let header = request.headers()["authorization"].clone();
        Response::new(header)
    });
    run(async {
        let request = Request::get(format!("{}/whoami", layer.url()))
            .header("authorization", "Basic of-the-caller")
            .body(())
            .unwrap();
        let service = LayerAuthLayer::new(client.clone()).layer(echo);
        let header = send(service, request).await.unwrap().into_body();
        assert!(
            header.is_sensitive(),
            "the header is not marked as sensitive"
        );
        let token = client.token().await.unwrap();
        assert!(
            header == token.authorization(),
            "the header has another token"
        );

        let api = LayerAuthLayer::new(client).layer(http());
        let response = send(api, get(&layer, "/whoami")).await.unwrap();
        assert_eq!(response.status(), 200, "GET /whoami with the token");
    });
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 1)]);
}

#[test]
fn b11_hundred_calls_with_a_revoked_token_make_one_token_request() {
    const CALLS: usize = 100;
    let layer = emulator();
    let client = client(&layer);
    run(async {
        client.token().await.unwrap();
        layer.revoke_all(TokenKind::Access);
        // All calls have sent the revoked token before the first one gets its answer.
        layer
            .fault(Endpoint::Whoami, Fault::hold().times(CALLS as u32))
            .unwrap();
        let api = LayerAuthLayer::new(client).layer(http());
        let calls: Vec<_> = (0..CALLS)
            .map(|_| tokio::spawn(send(api.clone(), get(&layer, "/whoami"))))
            .collect();
        let waiting = |counters: &layerfi_auth_emulator::Counters| {
            counters.endpoint(Endpoint::Whoami).in_flight == CALLS as u64
        };
        tokio::task::block_in_place(|| layerfi_auth_test_support::eventually(&layer, waiting));
        layer.release();
        for call in join_all(calls).await {
            let response = call.unwrap().unwrap();
            assert_eq!(response.status(), 200, "a call was not healed");
        }
    });
    assert_requests(
        &layer,
        &[(Endpoint::Token, 2), (Endpoint::Whoami, 2 * CALLS as u64)],
    );
}

#[test]
fn b11_other_calls_keep_their_token_while_a_401_is_healed() {
    let layer = emulator();
    let client = client(&layer);
    run(async {
        let token = client.token().await.unwrap();
        layer.fault(Endpoint::Whoami, Fault::status(401)).unwrap();
        layer.fault(Endpoint::Token, Fault::hold()).unwrap();
        let api = LayerAuthLayer::new(client.clone()).layer(http());
        let call = tokio::spawn(send(api, get(&layer, "/whoami")));
        let renewing = |counters: &layerfi_auth_emulator::Counters| {
            counters.endpoint(Endpoint::Token).in_flight == 1
        };
        tokio::task::block_in_place(|| layerfi_auth_test_support::eventually(&layer, renewing));
        let others = client.borrow_token().map(|token| token.clone());
        assert!(others == Some(token), "other calls must wait");
        layer.release();
        assert_eq!(
            call.await.unwrap().unwrap().status(),
            200,
            "the status of the response"
        );
    });
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
}

#[test]
fn b11_second_401_is_the_response() {
    let layer = emulator();
    layer
        .fault(Endpoint::Whoami, Fault::status(401).forever())
        .unwrap();
    run(async {
        let api = LayerAuthLayer::new(client(&layer)).layer(http());
        let response = send(api, get(&layer, "/whoami")).await.unwrap();
        assert_eq!(response.status(), 401, "the status of the response");
    });
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
}

#[test]
fn b11_body_is_sent_again_with_the_new_token() {
    let layer = emulator();
    layer
        .fault(Endpoint::AuthToken, Fault::status(401))
        .unwrap();
    let url = format!("{}/v1/businesses/{BUSINESS}/auth-token", layer.url());
    let request = Request::post(url)
        .header("content-type", "application/json")
        .body(Full::from(r#"{"session_duration": 60}"#))
        .unwrap();
    run(async {
        let api = LayerAuthLayer::new(client(&layer)).layer(http());
        let response = send(api, request).await.unwrap();
        assert_eq!(response.status(), 200, "the second request has no body");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("\"expires_in\":60"), "another body was sent");
    });
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::AuthToken, 2)]);
}

#[test]
fn b11_401_of_a_body_that_cannot_be_sent_again_invalidates_the_token() {
    let layer = emulator();
    let client = client(&layer);
    let stream = || Empty::<Bytes>::new().boxed_unsync();
    let request = |layer: &Emulator| get(layer, "/whoami").map(|_| stream());
    run(async {
        client.token().await.unwrap();
        layer.revoke_all(TokenKind::Access);
        let api = LayerAuthLayer::new(client).without_replay().layer(http());
        let refused = send(api.clone(), request(&layer)).await.unwrap();
        assert_eq!(refused.status(), 401, "the request was sent again");
        let response = send(api, request(&layer)).await.unwrap();
        assert_eq!(response.status(), 200, "the refused token is still used");
    });
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
}

#[test]
fn b11_function_decides_which_bodies_are_sent_again() {
    let layer = emulator();
    let empty = |body: &UnsyncBoxBody<Bytes, std::convert::Infallible>| {
        http_body::Body::is_end_stream(body).then(|| Empty::new().boxed_unsync())
    };
    run(async {
        for (body, status) in [("", 200), ("x", 401)] {
            layer.fault(Endpoint::Whoami, Fault::status(401)).unwrap();
            let request = get(&layer, "/whoami").map(|_| Full::from(body).boxed_unsync());
            let api = LayerAuthLayer::new(client(&layer))
                .replay_with(empty)
                .layer(http());
            let response = send(api, request).await.unwrap();
            assert_eq!(response.status(), status, "with the body {body:?}");
        }
    });
}

#[test]
fn b19_other_origin_gets_no_request() {
    let layer = emulator();
    let other = emulator();
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    foreign.set_nonblocking(true).unwrap();
    let url = format!("http://{}/whoami", foreign.local_addr().unwrap());
    run(async {
        let auth = LayerAuthLayer::new(client(&layer));
        let request = Request::get(&url).body(Full::default()).unwrap();
        let error = send(auth.layer(http()), request).await.unwrap_err();
        assert!(matches!(error, AuthError::Origin { .. }), "{error}");
        assert!(error.to_string().contains(&layer.url()), "{error}");

        let auth = auth.allow_origin(&other.url()).unwrap();
        let response = send(auth.layer(http()), get(&other, "/whoami")).await;
        // The other emulator does not know the token.
        assert_eq!(response.unwrap().status(), 401, "an allowed origin");
    });
    let connection = foreign.accept().map(|_| ()).unwrap_err();
    assert_eq!(
        connection.kind(),
        std::io::ErrorKind::WouldBlock,
        "it was connected"
    );
    assert_requests(&other, &[(Endpoint::Whoami, 2)]);
}

#[test]
fn b19_only_texts_that_are_urls_can_be_allowed() {
    let layer = emulator();
    let auth = LayerAuthLayer::new(client(&layer));
    let error = auth
        .clone()
        .allow_origin("https://a.example")
        .and_then(|auth| auth.allow_origin("https://user:canary@b.example"));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.to_string().starts_with("origins[1] is not a URL"),
        "{error}"
    );
    assert!(
        !format!("{error:?}").contains("canary"),
        "the text is shown"
    );
}

#[test]
fn b19_request_is_not_sent_if_there_is_no_token() {
    let layer = emulator();
    layer
        .fault(Endpoint::Token, Fault::status(503).forever())
        .unwrap();
    run(async {
        let api = LayerAuthLayer::new(client(&layer)).layer(http());
        let error = send(api, get(&layer, "/whoami")).await.unwrap_err();
        let token_error = error.as_token_error().expect("another kind of error");
        assert_eq!(token_error.kind(), ErrorKind::Api);
        assert_eq!(token_error.http_status(), Some(503));
        let source = std::error::Error::source(&error).expect("no source");
        assert!(source.is::<layerfi_auth::Error>(), "{source}");
    });
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b11_b19_business_token_is_added_and_replaced_after_a_401() {
    let layer = emulator();
    let business: BusinessId = BUSINESS.parse().unwrap();
    let path = format!("/v1/businesses/{BUSINESS}/bank-accounts");
    let clock = TestClock::new();
    run(async {
        let client = client_with_clock(&layer, clock.clone());
        let auth = LayerAuthLayer::for_business(client, business, SessionDuration::default());
        let api = auth.layer(http());
        let response = send(api.clone(), get(&layer, &path)).await.unwrap();
        assert_eq!(response.status(), 200, "the status of the response");
        // A business token cannot call this.
        let response = send(api.clone(), get(&layer, "/whoami")).await.unwrap();
        assert_eq!(response.status(), 403, "the access token was sent");

        layer.revoke_all(TokenKind::Business);
        // A token that is younger than 10 s is not replaced.
        clock.advance(Duration::from_secs(11));
        layer.advance(Duration::from_secs(11));
        let response = send(api, get(&layer, &path)).await.unwrap();
        assert_eq!(response.status(), 200, "the 401 was not healed");
    });
    assert_eq!(layer.count(Endpoint::AuthToken), 2, "minted tokens");
}

/// A service that may be called once each time that it was ready.
struct ReadyOnce<F> {
    answer: F,
    is_ready: bool,
    calls: Arc<AtomicUsize>,
}

impl<F> ReadyOnce<F> {
    fn new(answer: F) -> Self {
        Self {
            answer,
            is_ready: false,
            calls: Arc::default(),
        }
    }
}

/// A clone is not ready.
impl<F: Clone> Clone for ReadyOnce<F> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            is_ready: false,
            calls: Arc::clone(&self.calls),
        }
    }
}

impl<F, B, T> Service<Request<B>> for ReadyOnce<F>
where
    F: Fn(Request<B>) -> Response<T>,
{
    type Response = Response<T>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Response<T>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(self.is_ready, "the service was called and is not ready");
        self.is_ready = false;
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok((self.answer)(request)))
    }
}

#[test]
fn inner_service_is_ready_for_each_request() {
    let layer = emulator();
    let inner = ReadyOnce::new(|_: Request<()>| {
        let mut response = Response::new(());
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
        response
    });
    let calls = Arc::clone(&inner.calls);
    let mut service = LayerAuthLayer::new(client(&layer)).layer(inner);
    run(async {
        for _ in 0..2 {
            std::future::poll_fn(|cx| service.poll_ready(cx))
                .await
                .unwrap();
            let request = Request::get(layer.url()).body(()).unwrap();
            service.call(request).await.unwrap();
        }
    });
    assert_eq!(
        calls.load(Ordering::Relaxed),
        4,
        "two requests, each sent twice"
    );
}

mod reqwest_middleware_of_the_feature {
    use super::*;
    use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error};

    fn http(auth: LayerAuthLayer) -> ClientWithMiddleware {
        // This workspace's reqwest comes without one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        ClientBuilder::new(http).with(auth).build()
    }

    #[test]
    fn b11_b19_401_is_healed_and_a_second_one_is_the_response() {
        let layer = emulator();
        let url = format!("{}/whoami", layer.url());
        run(async {
            let client = client(&layer);
            client.token().await.unwrap();
            layer.revoke_all(TokenKind::Access);
            let api = http(LayerAuthLayer::new(client));
            let response = api.get(&url).send().await.unwrap();
            assert_eq!(response.status(), 200, "the 401 was not healed");
            assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
            layer
                .fault(Endpoint::Whoami, Fault::status(401).forever())
                .unwrap();
            let response = api.get(&url).send().await.unwrap();
            assert_eq!(response.status(), 401, "the status of the response");
        });
        assert_requests(&layer, &[(Endpoint::Token, 3), (Endpoint::Whoami, 4)]);
    }

    #[test]
    fn b19_other_origin_gets_no_token_not_even_by_a_redirect() {
        let layer = emulator();
        let other = emulator();
        let elsewhere = format!("{}/whoami", other.url());
        run(async {
            let api = http(LayerAuthLayer::new(client(&layer)));
            let error = api.get(&elsewhere).send().await.unwrap_err();
            let Error::Middleware(error) = error else {
                panic!("another error: {error}");
            };
            let found = error.downcast_ref::<AuthError<std::convert::Infallible>>();
            assert!(matches!(found, Some(AuthError::Origin { .. })), "{error}");
            assert_requests(&other, &[]);

            let redirect = Fault::status(302).header("location", elsewhere.clone());
            layer.fault(Endpoint::Whoami, redirect).unwrap();
            let url = format!("{}/whoami", layer.url());
            let response = api.get(url).send().await.unwrap();
            assert_eq!(response.status(), 401, "from the other origin");
        });
        let log = other.log();
        assert_eq!(log.len(), 1, "requests to the other origin");
        assert!(
            log[0].authorization.is_none(),
            "the redirect carried the token"
        );
        // The 401 of the other origin says nothing about the token.
        assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 1)]);
    }
}
