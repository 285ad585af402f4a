"""examples/mcp: a session with an MCP server that outlives its tokens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import command, eventually
from layerfi_auth.testing import BUSINESS_ID, Emulator

ASK = command("mcp", "python ask.py")
SERVER = [sys.executable, Path(__file__).with_name("mcp_server.py")]
QUESTION = 'net_profit {"start_date": "2026-01-01", "end_date": "2026-01-31"}\n'


@pytest.fixture
def layer():
    with Emulator(rate_limit=None, demo_data=True) as emulator:
        yield emulator


@pytest.fixture
def server(run_example):
    server = run_example("mcp", SERVER)
    eventually(lambda: "Uvicorn running" in server.output(), server.output)
    return server


def refused(layer):
    return layer.counters()["endpoints"]["business"]["by_status"].get("401", 0)


def test_b11_mcp_session_goes_on_after_its_token_was_revoked(layer, server, run_example):
    client = run_example("mcp", ASK, {"MCP_URL": server.url}, stdin=subprocess.PIPE)

    def ask():
        answers = len(client.output().splitlines())
        client.process.stdin.write(QUESTION.encode())
        client.process.stdin.flush()
        eventually(lambda: len(client.output().splitlines()) > answers, client.output)
        return client.output().splitlines()[-1]

    eventually(lambda: "net_profit: The net profit" in client.output(), client.output)
    first = ask()
    assert int(first) > 0
    assert ask() == first
    assert layer.count("token") == 1, f"{layer.count('token')} token requests, not one"
    assert refused(layer) == 0
    layer.revoke_all("access")
    assert ask() == first
    assert layer.count("token") == 2
    assert refused(layer) == 1, "the server refuses the old token once"
    assert layer.counters()["endpoints"]["token"]["by_status"] == {"200": 2}
    client.process.stdin.close()
    assert client.wait() == 0, client.output()
    assert layer.env()["LAYER_CLIENT_SECRET"] not in client.output() + server.output()


def test_mcp_stand_in_refuses_a_request_without_a_valid_token(layer, server):
    answer = server.post(f"/mcp/b/{BUSINESS_ID}", {})
    assert answer.status == 401
    forged = {"Authorization": "Bearer not-a-token"}
    assert server.post(f"/mcp/b/{BUSINESS_ID}", {}, **forged).status == 401
    assert layer.count("token") == 0
