"""B29: the token endpoints of all web frameworks, with the same table of cases."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, eventually, free_port
from layerfi_auth.testing import Emulator

TABLE = json.loads((ROOT / "tests/token_endpoints/cases.json").read_text())
UVICORN = ["uvicorn", "--no-access-log", "--log-level", "warning"]
SERVERS = {
    "fastapi": (UVICORN, "fastapi_app:app", ""),
    "flask": (["gunicorn", "--threads", "4"], "flask_app:app", ""),
    "django": (["gunicorn", "--threads", "4"], "django_app:wsgi", ""),
    "django_async": (UVICORN, "django_app:asgi", "/async"),
}


def ask(port, method, path, body="", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return (
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            answer.read(),
        )
    finally:
        connection.close()


def is_listening(port):
    try:
        ask(port, "OPTIONS", "/layer-token")
    except OSError:
        return False
    return True


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    """A real server with the endpoints, the emulator behind it, and its log."""
    command, app, prefix = SERVERS[request.param]
    port = free_port()
    bind = ["--port", str(port)] if command[0] == "uvicorn" else ["--bind", f"127.0.0.1:{port}"]
    log = tmp_path_factory.mktemp(request.param) / "log"
    env = {k: v for k, v in os.environ.items() if not k.startswith("LAYER_")}
    with Emulator(rate_limit=None) as layer, log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *bind, app],
            cwd=Path(__file__).parent / "token_endpoints",
            env={**env, **layer.env()},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            eventually(lambda: process.poll() is not None or is_listening(port))
            assert process.poll() is None, f"the server ended: {log.read_text()}"
            yield port, prefix, layer, log
        finally:
            process.terminate()
            process.wait(TIMEOUT)


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["name"])
def test_b29_token_endpoint_passes_the_table(server, case):
    port, prefix, layer, _ = server
    headers = {"Origin": case["origin"]} if "origin" in case else {}
    business = case.get("business", TABLE["business"])
    if business is not None:
        headers["X-Business"] = business
    if "layer" in case:
        layer.fault("auth_token", times="forever", **case["layer"])
    method, path = case.get("method", "POST"), prefix + case.get("path", "/layer-token")
    try:
        status, found, body = ask(port, method, path, case.get("body", ""), **headers)
    finally:
        layer.clear_faults()
    assert status == case["status"], f"{status} {body!r}"
    if "error" in case:
        assert json.loads(body) == {"error": case["error"]}
    if not case.get("is_the_frameworks"):
        for name, value in {**TABLE["always"], **case.get("headers", {})}.items():
            assert found.get(name) == value, f"{name}: {found}"
    for name in [*TABLE["never"], *case.get("missing", [])]:
        assert name not in found, f"{name}: {found}"
    if status == 200:
        session = json.loads(body)
        assert found["content-type"] == "application/json"
        assert session["business_id"] == TABLE["business"]
        assert session["token_type"] == "Bearer"
        assert session["session_duration"] == 28_800
        assert 28_700 < session["expires_in"] <= 28_800
        assert 14_300 < session["renew_in"] <= 14_400
        props = session["layer_provider_props"]
        assert props["businessAccessToken"] == session["access_token"]
        assert layer.count("auth_token") >= 1


def test_b20_b29_log_of_a_token_endpoint_has_a_line_and_no_secret(server):
    port, prefix, layer, log = server
    business = {"X-Business": TABLE["business"]}
    _, _, body = ask(port, "POST", f"{prefix}/layer-token", "{}", **business)
    token = json.loads(body)["access_token"]
    ask(port, "POST", f"{prefix}/layer-token", "{}", **{"X-Business": "x" * 1_000})
    line = "the token endpoint answered 404 for business 'xxx"
    eventually(lambda: line in log.read_text())
    text = log.read_text()
    assert "x" * 100 not in text
    assert token not in text
    assert layer.env()["LAYER_CLIENT_SECRET"] not in text
    assert "Traceback" not in text
