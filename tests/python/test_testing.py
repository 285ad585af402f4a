"""The emulator of `layerfi_auth.testing`."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import layerfi_auth
from conftest import BUSINESS, business
from layerfi_auth import ApiError, Client, ConfigError, OAuthError, TlsError
from layerfi_auth.testing import BUSINESS_ID, CLIENT_ID, CLIENT_SECRET, Emulator


def test_emulator_urls_and_repr():
    with Emulator() as layer:
        assert repr(layer) == f"<Emulator at {layer.url}>"
        assert layer.url.startswith("http://127.0.0.1:")
        assert layer.token_url.endswith("/oauth2/token")
        assert layer.control_url != layer.url
        assert layer.client().whoami().client_name
        assert BUSINESS_ID == BUSINESS


def test_faults_and_counters(layer, client):
    layer.fault("token", status=503, times=2, headers={"retry-after": "0"})
    assert client.token()
    assert layer.count("token") == 3
    counters = layer.counters()
    assert counters["endpoints"]["token"]["by_status"] == {"200": 1, "503": 2}
    number = layer.fault("whoami", {"status": 418}, times="forever")
    with pytest.raises(ApiError) as caught:
        client.whoami()
    assert caught.value.http_status == 418
    assert [fault["acted"] for fault in layer.faults()] == [1]
    assert layer.remove_fault(number) is True
    assert layer.remove_fault(number) is False
    assert client.whoami()
    layer.fault(status=500)
    layer.clear_faults()
    assert layer.faults() == []
    for wrong in ({"statsu": 503}, {"endpoint": "tokens"}, {"times": "always"}):
        with pytest.raises(ValueError, match="."):
            layer.fault(**wrong)
    with pytest.raises(ValueError, match="endpoint must be one of token"):
        layer.count("tokens")


def test_log_names_tokens_by_fingerprint(layer, client):
    token = client.token()
    client.whoami()
    *_, last = layer.log()
    assert (last["method"], last["path"], last["status"]) == ("GET", "/whoami", 200)
    assert last["authorization"]["fingerprint"] == layer.fingerprint(token.secret)
    assert layer.log(after=last["number"]) == []
    assert token.secret not in str(layer.log())


def test_clock_can_be_moved(layer, client):
    before = layer.now()
    layer.stop_clock()
    token = client.token()
    layer.advance(3600)
    assert layer.now() - before >= 3600
    # The token has expired for the server; the client gets a 401 and then a new token.
    assert client.whoami()
    assert client.token() != token
    layer.advance(-3600)
    layer.run_clock()
    assert abs(layer.now() - before) < 60
    with pytest.raises(ValueError, match="finite"):
        layer.advance(float("inf"))


def test_revoked_tokens_are_replaced(layer, client):
    token = client.token()
    assert layer.revoke(token) is True
    assert layer.revoke("not a token") is False
    assert client.whoami()
    assert client.token() != token
    layer.revoke_all("access")
    assert client.whoami()
    assert layer.count("token") == 3
    with pytest.raises(ValueError, match="kind must be one of access, business"):
        layer.revoke_all("all")


def test_rotated_secret_replaces_the_old_one(layer):
    layer.rotate(CLIENT_ID, "new", keep_old=True)
    assert layer.client().token()
    assert layer.client(client_secret="new").token()
    layer.rotate(CLIENT_ID, "newer")
    with pytest.raises(OAuthError):
        layer.client(client_secret=CLIENT_SECRET).token()


def test_emulator_options():
    with Emulator(
        environment="production",
        clients=[("me", "my-secret")],
        unauthorized_clients=[("you", "your-secret")],
        businesses=[business(1)],
        access_token_lifetime=60,
        business_token_lifetime=30,
        invalid_client_status=401,
        rate_limit=None,
    ) as layer:
        client = layer.client()
        assert 0 < client.token().remaining <= 60
        assert client.business_token(business(1)).expires_in == 30
        with pytest.raises(ApiError):
            client.business_token(business(2))
        with pytest.raises(OAuthError) as caught:
            layer.client(client_id="you").token()
        assert caught.value.oauth_error == "unauthorized_client"
        assert "production" in layer.scope
    with pytest.raises(TypeError, match="unexpected keyword"):
        Emulator(prot=1)
    with pytest.raises(ValueError, match="."):
        Emulator(environment="staging")


def test_tls_emulator():
    with Emulator(tls=True) as layer:
        assert layer.url.startswith("https://")
        assert "BEGIN CERTIFICATE" in layer.ca_pem
        assert layer.client().whoami()
        with pytest.raises(TlsError):
            layer.client(ca_pem=None, max_attempts=1).token()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_env_makes_a_client_of_the_emulator(monkeypatch, tls):
    def from_env(layer):
        for name, value in layer.env().items():
            monkeypatch.setenv(name, value)
        return Client.from_env()

    # Variables of the developer's environment must not be used.
    monkeypatch.setenv("LAYER_CLIENT_SECRET_FILE", "/run/secrets/layer")
    monkeypatch.setenv("LAYER_CA_FILE", "/nowhere/ca.pem")
    with Emulator(tls=tls, clients=[("abc", "def"), ("other", "x")]) as layer:
        for make in (layer.client, lambda: from_env(layer)):
            assert make().whoami()
            layer.rotate("other", "y")
            layer.rotate("abc", "rotated")
            assert make().whoami()
            layer.reset()
            assert make().whoami()
        ca_file = layer.env()["LAYER_CA_FILE"]
        assert ca_file == layer.env()["LAYER_CA_FILE"]
        assert (ca_file != "") == tls
        assert not tls or Path(ca_file).read_text() == layer.ca_pem
    assert not ca_file or not Path(ca_file).exists()
    with Emulator(clients=[]) as layer:
        assert from_env(layer).whoami()


def test_settings_can_be_changed_and_reset(layer):
    layer.set_access_token_lifetime(120)
    layer.set_business_token_lifetime(90)
    client = layer.client()
    assert 60 < client.token().remaining <= 120
    assert client.business_token(BUSINESS).expires_in == 90
    layer.set_business_token_lifetime(None)
    assert client.mint_business_token(BUSINESS).expires_in == 3600
    layer.set_rate_limit(1)
    layer.reset()
    assert layer.count("token") == 0


def test_client_made_after_a_rotation_over_the_control_api_has_the_new_secret(layer):
    def control(path, **body):
        request = urllib.request.Request(
            f"{layer.control_url}{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as done:
            assert done.status == 200

    before = layer.client()
    control("/rotate", client_id=CLIENT_ID, client_secret="rotated elsewhere")
    assert layer.client().token()
    assert layer.env()["LAYER_CLIENT_SECRET"] == "rotated elsewhere"
    with pytest.raises(OAuthError):
        before.token()
    control("/reset")
    assert layer.client().token()
    assert layer.env()["LAYER_CLIENT_SECRET"] == CLIENT_SECRET


@pytest.mark.parametrize("name", ["port", "control_port"])
def test_port_in_use_is_an_error_with_the_port_and_the_cause(name):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}; ") as caught:
            Emulator(**{name: port})
    assert str(caught.value).startswith("[Errno 98] Address already in use: the emulator")
    assert caught.value.errno == errno.EADDRINUSE


def test_pytest_fixtures(pytester):
    pytester.makepyfile(
        """
        import pytest
        from layerfi_auth import OAuthError

        def test_fresh(layer_emulator, layer_client):
            assert layer_emulator.count("token") == 0
            assert layer_client.whoami().client_name
            assert layer_emulator.count("token") == 1

        def test_fresh_again(layer_emulator):
            assert layer_emulator.count("token") == 0

        def test_fault(layer_emulator, layer_client):
            layer_emulator.fault("token", status=400, body={"error": "invalid_client"})
            with pytest.raises(OAuthError):
                layer_client.token()
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=3)
    listed = pytester.runpytest_subprocess("--fixtures", "-p", "no:asyncio")
    listed.stdout.fnmatch_lines(["*layer_emulator*", "*emulator of the Layer API*"])


def send(layer, method, path, body=None):
    """Send a command to the control API."""
    request = urllib.request.Request(
        layer.control_url + path, data=body and json.dumps(body).encode(), method=method
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        return json.load(response)


def test_demo_business_is_the_same_for_every_language(layer):
    assert send(layer, "GET", "/")["demo_business_id"] == BUSINESS_ID


def test_secret_rotated_over_the_control_api_is_used_by_new_clients(layer):
    send(layer, "POST", "/rotate", {"client_id": CLIENT_ID, "client_secret": "newer"})
    assert layer.env()["LAYER_CLIENT_SECRET"] == "newer"
    assert layer.client().token()


def test_proxy_leads_every_name_to_the_emulator():
    names = ["auth.layerfi.test", "api.layerfi.test"]
    options = {"tls": True, "proxy": True, "names": names, "proxy_credentials": ("u", "p")}
    with Emulator(**options) as layer:
        client = layer.client(
            api_url="https://api.layerfi.test",
            auth_url="https://auth.layerfi.test/oauth2/token",
            proxy=layer.proxy_url.replace("://", "://u:p@"),
        )
        assert client.whoami().client_name
        assert layer.counters()["tunnels"] >= 2
        requests = [entry for entry in layer.log() if entry["endpoint"] == "proxy"]
        assert {entry["proxy_user"] for entry in requests} == {"u"}
        layer.set_proxy_credentials(None)
    with Emulator() as layer:
        assert layer.proxy_url is None


def test_authority_file_is_used_again_after_a_restart(tmp_path):
    file = tmp_path / "authority.pem"
    with Emulator(authority_file=file) as layer:
        pem = layer.ca_pem
    with Emulator(authority_file=file) as layer:
        assert layer.ca_pem == pem
        assert layer.client().token()
    file.write_text("nonsense")
    with pytest.raises(ConfigError, match="no private key") as refused:
        Emulator(authority_file=file)
    assert refused.value.field == "authority_file"
    with pytest.raises(FileNotFoundError, match="authority_file cannot be"):
        Emulator(authority_file=tmp_path / "missing" / "authority.pem")


def test_demo_data_console_and_fault_of_a_resource():
    def status(layer, resource):
        token = layer.client().business_token(BUSINESS_ID).secret
        request = urllib.request.Request(
            f"{layer.url}/v1/businesses/{BUSINESS_ID}/{resource}",
            headers={"authorization": f"Bearer {token}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                return response.status, json.load(response)["data"]
        except urllib.error.HTTPError as error:
            return error.code, None

    with Emulator(demo_data=True, console=False) as layer:
        assert layer.console_url is None
        assert len(status(layer, "bank-transactions")[1]) == 40
        layer.fault("business_data", resource="vendors", status=503)
        assert status(layer, "customers")[0] == 200
        assert status(layer, "vendors")[0] == 503
        assert layer.log()[-1]["resource"] == "vendors"
    with Emulator() as layer:
        assert layer.console_url == f"{layer.control_url}/"
        assert status(layer, "bank-transactions") == (200, [])


def test_rotated_authority_is_written_to_the_file_of_the_environment():
    with Emulator(tls=True) as layer:
        file = Path(layer.env()["LAYER_CA_FILE"])
        before = layer.ca_pem
        assert layer.rotate_authority() == layer.ca_pem != before
        assert file.read_text() == layer.ca_pem
        assert layer.client().token()
        layer.reset()
        assert file.read_text() == layer.ca_pem == before


def test_tls_and_connections_can_be_disturbed():
    with Emulator(
        tls_trouble="tls_1_1", http_versions="1.1", requests_per_connection=1
    ) as layer:
        with pytest.raises(TlsError):
            layer.client(max_attempts=1).token()
        layer.set_tls_trouble(None)
        client = layer.client()
        assert client.whoami().client_name
        assert layer.counters()["connections"] >= 3
        layer.set_idle_timeout(60)
        assert layer.connections("close", connection=1_000_000) == 0
        with pytest.raises(ValueError, match="action"):
            layer.connections("sing")


def test_b28_plugin_loads_nothing_of_the_package_in_tests_of_others(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_of_others():
            assert "layerfi_auth_pytest" in sys.modules
            loaded = [name for name in sys.modules if name.split(".")[0] == "layerfi_auth"]
            assert loaded == []
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("native", ["missing", "broken"])
def test_b28_broken_installation_fails_only_the_tests_that_use_the_fixtures(
    pytester, monkeypatch, native
):
    package = Path(layerfi_auth.__file__).parent
    copy = pytester.mkdir("copy")
    no_module = shutil.ignore_patterns("_native.*", "__pycache__")
    shutil.copytree(package, copy / package.name, ignore=no_module)
    if native == "broken":
        (copy / package.name / "_native.abi3.so").write_text("not a module")
    monkeypatch.setenv("PYTHONPATH", str(copy))
    pytester.makepyfile(
        """
        def test_of_others():
            pass

        def test_mine(layer_client):
            pass
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*layerfi_auth cannot be imported (*_native*); install it again: pip install*"]
    )
