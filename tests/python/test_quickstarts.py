"""Runs the README's quickstarts as printed. `test_documentation.py` runs all other code."""

from __future__ import annotations

import ast
import asyncio
import base64
import http.client
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import flask
import itsdangerous
import pytest

from conftest import ROOT, TIMEOUT, eventually, free_port
from test_servers import running

BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
SHOP_KEY = "signs-the-sessions"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")


def section(name: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split(f"\n## {name}\n")[1].split("\n## ")[0]


@pytest.fixture
def quickstarts(tmp_path):
    """Write the README's files into a folder and return its commands."""
    commands = {}
    for language, code in BLOCK.findall(section("In Python")):
        if language == "python":
            name = FILE.match(code).group(1)
            (tmp_path / name).write_text(code, encoding="utf-8")
        else:
            for line in code.splitlines():
                commands[line.split()[0]] = shlex.split(line)
    assert set(commands) == {"pip", "python", "uvicorn", "gunicorn"}
    scripts = Path(sysconfig.get_path("scripts"))
    return {name: [scripts / name, *rest] for name, (_, *rest) in commands.items()}


def test_readme_script_runs(layer, quickstarts, tmp_path):
    done = subprocess.run(
        [sys.executable, *quickstarts["python"][1:]],
        cwd=tmp_path,
        env={**os.environ, **layer.env()},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"the script failed: {done.stderr}"
    assert "Layer Example" in done.stdout
    assert f"<BusinessToken [redacted] for {BUSINESS}" in done.stdout
    assert layer.count("token") == 1


def ask(port, cookie=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        headers = {"cookie": f"session={cookie}"} if cookie else {}
        # The server must ignore the business id of a request.
        connection.request("POST", f"/layer-token?business_id={BUSINESS}", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["cache-control"], answer.read()
    except OSError:
        return None
    finally:
        connection.close()


def sign_in(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("POST", "/sign-in")
        return connection.getresponse().status
    finally:
        connection.close()


def signed_in(server, business_id, key=SHOP_KEY):
    """The session cookie of a user who has signed in, as the two frameworks make it."""
    if server == "uvicorn":
        content = base64.b64encode(json.dumps({"business_id": business_id}).encode())
        return itsdangerous.TimestampSigner(key).sign(content).decode()
    app = flask.Flask("shop")
    app.secret_key = key
    signer = flask.sessions.SecureCookieSessionInterface().get_signing_serializer(app)
    return signer.dumps({"business_id": business_id})


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn"])
def test_readme_servers_run(layer, quickstarts, tmp_path, server, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", SHOP_KEY)
    port, log = free_port(), tmp_path / "log"
    # The ports of the printed commands may be in use.
    monkeypatch.setenv("UVICORN_PORT", str(port))
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"--bind 127.0.0.1:{port}")
    with running(quickstarts[server], tmp_path, layer, log):
        eventually(lambda: ask(port))
        # Without a valid session there is no token.
        forged = signed_in(server, BUSINESS, key="another")
        assert [ask(port, cookie)[0] for cookie in (None, forged)] == [401, 401]
        assert layer.count("auth_token") == 0
        assert ask(port, signed_in(server, "../whoami"))[0] == 404
        assert sign_in(port) == 200
        answers = [ask(port, signed_in(server, BUSINESS)) for _ in range(20)]
    assert {answer[:2] for answer in answers} == {(200, "no-store")}
    for answer in (json.loads(body) for *_, body in answers):
        assert answer["business_id"] == BUSINESS
        assert answer["token_type"] == "Bearer"
        assert 0 < answer["expires_in"] <= 28_800
    assert layer.count("token") == 1
    assert layer.count("auth_token") <= (1 if server == "uvicorn" else 4)


def test_package_readme_runs(layer, monkeypatch):
    for name, value in layer.env().items():
        monkeypatch.setenv(name, value)
    text = (ROOT / "python" / "README.md").read_text(encoding="utf-8")
    (code,) = [code for language, code in BLOCK.findall(text) if language == "python"]

    async def run():
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        await eval(compile(code, "python/README.md", "exec", flags=flags), {})

    asyncio.run(run())
