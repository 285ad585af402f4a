"""Authentication for httpx, httpx2, requests and aiohttp."""

from __future__ import annotations

import asyncio
import http.server
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import get_type_hints

import aiohttp
import httpx
import httpx2
import pytest
import requests

from conftest import BUSINESS, ROOT, TIMEOUT, run_python
from layerfi_auth import Client, ConfigError, InvalidArgumentError
from layerfi_auth._native import AllowedOrigins
from layerfi_auth.auth import Httpx2Auth, HttpxAuth, RequestsAuth, aiohttp_middleware

PATH = f"/v1/businesses/{BUSINESS}/auth-token"
BODY = {"session_duration": 60}
AUTH = {httpx: HttpxAuth, httpx2: Httpx2Auth}


def httpx_sync(
    client, method, url, origins=(), stream=None, data=None, library=httpx, **kwargs
):
    auth = AUTH[library](client, origins=origins)
    if stream is not None:
        kwargs["content"] = stream()
    if data is not None:
        kwargs["content"] = data
    with library.Client(auth=auth, trust_env=False, follow_redirects=True) as session:
        answer = session.request(method, url, **kwargs)
        return answer.status_code, answer.text


def httpx_async(
    client, method, url, origins=(), stream=None, data=None, library=httpx, **kwargs
):
    async def call():
        auth = AUTH[library](client, origins=origins)
        if stream is not None:

            async def parts():
                for part in stream():
                    yield part

            kwargs["content"] = parts()
        if data is not None:
            kwargs["content"] = data
        async with library.AsyncClient(
            auth=auth, trust_env=False, follow_redirects=True
        ) as session:
            answer = await session.request(method, url, **kwargs)
            return answer.status_code, answer.text

    return asyncio.run(call())


def httpx2_sync(*arguments, **kwargs):
    return httpx_sync(*arguments, library=httpx2, **kwargs)


def httpx2_async(*arguments, **kwargs):
    return httpx_async(*arguments, library=httpx2, **kwargs)


def requests_sync(client, method, url, origins=(), stream=None, data=None, **kwargs):
    with requests.Session() as session:
        session.trust_env = False
        session.auth = RequestsAuth(client, origins=origins)
        if stream is not None:
            kwargs["data"] = stream()
        if data is not None:
            kwargs["data"] = data
        answer = session.request(method, url, **kwargs)
        return answer.status_code, answer.text


def aiohttp_async(client, method, url, origins=(), stream=None, data=None, **kwargs):
    async def call():
        if stream is not None:

            async def parts():
                for part in stream():
                    yield part

            kwargs["data"] = parts()
        if data is not None:
            kwargs["data"] = data
        middleware = aiohttp_middleware(client, origins=origins)
        async with (
            aiohttp.ClientSession(middlewares=(middleware,)) as session,
            session.request(method, url, **kwargs) as answer,
        ):
            return answer.status, await answer.text()

    return asyncio.run(call())


every_library = pytest.mark.parametrize(
    "send",
    [httpx_sync, httpx_async, httpx2_sync, httpx2_async, requests_sync, aiohttp_async],
)


@every_library
def test_request_gets_the_header(layer, client, send):
    status, text = send(client, "GET", f"{layer.url}/whoami")
    assert (status, "Layer Example" in text) == (200, True)
    assert send(client, "POST", layer.url + PATH, json=BODY)[0] == 200
    assert layer.count("token") == 1


@every_library
def test_b11_401_is_retried_once_with_a_new_token(layer, client, send):
    refused = client.token()
    assert layer.revoke(refused)
    status, text = send(client, "POST", layer.url + PATH, json=BODY)
    assert status == 200
    assert "access_token" in text
    assert client.token() != refused
    assert layer.count("auth_token") == 2
    assert layer.count("token") == 2


@every_library
def test_b11_second_401_is_returned(layer, client, send):
    layer.fault("whoami", status=401, times="forever")
    assert send(client, "GET", f"{layer.url}/whoami")[0] == 401
    assert layer.count("whoami") == 2


@every_library
def test_b11_route_that_always_answers_401_delays_no_other_call(layer, client, send):
    refused = client.token()
    layer.fault("whoami", status=401, times="forever")
    layer.fault("token", hold=True)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(send, client, "GET", f"{layer.url}/whoami")
        assert layer.wait_for("token", 2)
        # The new token is requested, but only the call with the 401 waits for it.
        assert client.try_token() == refused
        layer.release()
        assert call.result(TIMEOUT)[0] == 401
    assert client.token() != refused


@every_library
def test_streamed_body_is_not_resent_but_its_token_is_invalidated(layer, client, send):
    refused = client.token()
    layer.revoke(refused)

    def stream():
        yield b'{"session_duration":'
        yield b"60}"

    headers = {"content-type": "application/json"}
    assert send(client, "POST", layer.url + PATH, stream=stream, headers=headers)[0] == 401
    assert layer.count("auth_token") == 1
    assert send(client, "POST", layer.url + PATH, stream=stream, headers=headers)[0] == 200
    assert client.token() != refused


def test_requests_rewinds_a_file(layer, client):
    layer.revoke(client.token())
    file = io.BytesIO(b"xxx" + b'{"session_duration":60}')
    file.seek(3)
    headers = {"content-type": "application/json"}
    assert requests_sync(client, "POST", layer.url + PATH, data=file, headers=headers)[0] == 200
    assert layer.count("auth_token") == 2


@pytest.fixture
def other_server():
    """A server of another origin, which records the headers that it gets."""
    headers = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            headers.append(self.headers.get("authorization"))
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.received = headers
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@every_library
def test_b19_token_is_not_sent_to_other_origins(client, send, other_server):
    if send is aiohttp_async:
        assert send(client, "GET", other_server.url)[0] == 401
    else:
        with pytest.raises(InvalidArgumentError) as caught:
            send(client, "GET", other_server.url)
        assert caught.value.field == "url"
    assert set(other_server.received) <= {None}


def test_b19_only_urls_below_an_allowed_one_get_the_token():
    table = json.loads((ROOT / "tests/allowed_origins/cases.json").read_text())
    origins = AllowedOrigins(table["api_url"], table["added"])
    for case in table["urls"]:
        assert origins.allows(case["url"]) is case["is_allowed"], case["url"]
        if case["is_allowed"]:
            origins.check(case["url"])
        else:
            with pytest.raises(InvalidArgumentError, match="is not below https://gateway"):
                origins.check(case["url"])
    for text in table["not_origins"]:
        with pytest.raises(ConfigError, match=r"^origins\[1\] is not a URL") as caught:
            AllowedOrigins(table["api_url"], ["https://one.example", text])
        assert caught.value.field == "origins", text


@every_library
def test_b19_redirect_to_another_origin_carries_no_token(layer, client, send, other_server):
    # Another port is another origin.
    layer.fault("whoami", status=302, headers={"location": f"{other_server.url}/x"})
    assert send(client, "GET", f"{layer.url}/whoami")[0] == 401
    assert other_server.received == [None]


@every_library
def test_added_origins_get_the_token(client, send, other_server):
    assert send(client, "GET", f"{other_server.url}/mcp", origins=[other_server.url])[0] == 401
    assert other_server.received[0].startswith("Bearer ")


def test_streamed_response_is_not_read(layer, client):
    layer.fault("whoami", wire={"drip": {"part": "body", "every_ms": 20}})
    with (
        httpx.Client(auth=HttpxAuth(client), trust_env=False) as session,
        session.stream("GET", f"{layer.url}/whoami") as answer,
    ):
        assert not answer.is_stream_consumed
        assert answer.status_code == 200


def test_b11_hundred_401s_cost_one_token_request(layer, client):
    layer.revoke(client.token())

    async def call():
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(
            auth=HttpxAuth(client), trust_env=False, limits=limits, timeout=30
        ) as session:
            calls = [session.get(f"{layer.url}/whoami") for _ in range(100)]
            return {answer.status_code for answer in await asyncio.gather(*calls)}

    assert asyncio.run(call()) == {200}
    assert layer.count("token") == 2
    assert 101 <= layer.count("whoami") <= 200


def test_dir_lists_the_names():
    import layerfi_auth.auth

    assert dir(layerfi_auth.auth) == [
        *("Httpx2Auth", "HttpxAuth", "RequestsAuth", "aiohttp_middleware")
    ]
    with pytest.raises(AttributeError):
        _ = layerfi_auth.auth.UrllibAuth
    assert get_type_hints(HttpxAuth.__init__)["client"] is Client
    assert get_type_hints(RequestsAuth.__call__)
    assert get_type_hints(aiohttp_middleware)


@pytest.mark.parametrize("library", ["httpx", "httpx2", "requests", "aiohttp"])
def test_missing_library_names_the_extra_to_install(library):
    out = run_python(
        f"""
import sys
sys.modules[{library!r}] = None  # As if it were not installed.
from layerfi_auth.auth import *
import layerfi_auth.auth
for name in dir(layerfi_auth.auth):
    try:
        getattr(layerfi_auth.auth, name)
        assert name in globals()
    except ImportError as error:
        print(error)
"""
    )
    assert out.count("needs") == 1
    assert f"needs {library}: pip install 'layerfi-auth[{library}]'" in out
