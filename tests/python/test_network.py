"""Proxies, and files with certificates that are late or replaced."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from conftest import TIMEOUT
from layerfi_auth import Client, ConfigError, TlsError, TransportError
from layerfi_auth.testing import Emulator


@pytest.fixture
def secure():
    with Emulator(rate_limit=None, tls=True) as emulator:
        yield emulator


def test_b25_ca_file_that_was_replaced_is_read_again(secure, tmp_path):
    file = tmp_path / "ca.pem"
    with Emulator(tls=True) as other:
        file.write_text(other.ca_pem)
    client = secure.client(ca_pem=None, ca_file=file)
    file.write_text(secure.ca_pem)
    assert client.whoami().client_name


def test_b25_bundle_that_appears_after_the_first_call_is_used(secure, tmp_path):
    bundle = tmp_path / "bundle.pem"
    code = """
import sys, time
from layerfi_auth import Client, TlsError
client = Client.from_env(proxy=False)
try:
    client.token()
except TlsError as error:
    print(error, flush=True)
sys.stdin.readline()
until = time.monotonic() + 60
while True:
    try:
        print("healed", bool(client.token()))
        break
    except TlsError:
        assert time.monotonic() < until, "not healed within 60 s"
        time.sleep(0.1)
"""
    variables = {**secure.env(), "LAYER_CA_FILE": "", "SSL_CERT_FILE": str(bundle)}
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            first = program.stdout.readline()
            assert "has 0 trusted certificates" in first
            bundle.write_text(secure.ca_pem)
            printed, _ = program.communicate("\n", timeout=2 * TIMEOUT)
        finally:
            program.kill()
    assert printed == "healed True\n"


def test_b25_trust_selects_the_certificate_authorities(secure):
    for trust in ("system", "bundled", "ca_only"):
        assert secure.client(trust=trust).token()
    with pytest.raises(TlsError, match="trusted certificates of Mozilla"):
        secure.client(trust="bundled", ca_pem=None).token()
    with pytest.raises(ConfigError, match="set ca_file to a PEM file") as caught:
        secure.client(trust="ca_only", ca_pem=None)
    assert caught.value.field == "trust"


class Proxy:
    """A proxy that gives one answer to every request."""

    def __init__(self, answer: bytes) -> None:
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(answer,), daemon=True).start()

    def _serve(self, answer: bytes) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    part = connection.recv(1)
                    if not part:
                        break
                    head += part
                self.heads.append(head)
                connection.sendall(answer)

    def close(self) -> None:
        # Wakes `accept`.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def client_through(proxy: str) -> Client:
    return Client(
        environment="custom",
        client_id="id",
        client_secret="secret",
        api_url="https://layer.invalid",
        auth_url="https://layer.invalid/oauth2/token",
        scope="scope",
        proxy=proxy,
    )


@pytest.mark.parametrize(
    ("status", "retryable", "requests"), [(407, False, 1), (403, False, 2), (503, True, None)]
)
def test_b14_answer_of_a_proxy_is_reported(status, retryable, requests):
    proxy = Proxy(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)
    try:
        with pytest.raises(TransportError) as raised:
            client_through(f"http://DOMAIN\\user:canary@{proxy.address}").token()
    finally:
        proxy.close()
    error = raised.value
    text = f"{error} {error!r}"
    assert error.retryable is retryable
    assert error.http_status is None
    assert f"the proxy {proxy.address}" in text
    assert f"HTTP {status}" in text
    assert "canary" not in text
    if requests is not None:
        assert len(proxy.heads) == requests


def test_b28_proxy_of_another_kind_is_named_if_it_is_used(layer, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://user:canary@127.0.0.1:1")
    # Loopback needs no proxy.
    assert layer.client(proxy=None).whoami().client_name
    with pytest.raises(ConfigError, match="ALL_PROXY is a socks5:// URL") as raised:
        client_through(proxy=None)
    assert raised.value.field == "proxy"
    assert "canary" not in str(raised.value)


def test_b22_error_of_a_certificate_says_what_to_do(secure):
    with pytest.raises(TlsError, match="unknown authority.*set ca_file"):
        secure.client(ca_pem=None).token()
