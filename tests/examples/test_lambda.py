"""examples/lambda: a function that is frozen past its token's expiry."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import EXAMPLES, TIMEOUT, command, environment, eventually, run_command

RUNTIME = Path(__file__).with_name("lambda_runtime.py")


def example_event():
    spec = importlib.util.spec_from_file_location("event", EXAMPLES / "lambda/event.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EVENT


class RuntimeApi:
    """Lambda's runtime API: hands one event at a time to the runtime that asks for it."""

    def __init__(self):
        self._events, self._results = queue.Queue(), queue.Queue()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                event = api._events.get()
                if event is not None:
                    self.answer(json.dumps(event).encode())

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                api._results.put(json.loads(self.rfile.read(length)))
                self.answer(b"{}")

            def answer(self, body):
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def invoke(self, event):
        self._events.put(event)
        try:
            return self._results.get(timeout=TIMEOUT)
        except queue.Empty:
            pytest.fail(f"the function did not answer within {TIMEOUT:.0f} s")

    def close(self):
        self._events.put(None)
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def runtime():
    api = RuntimeApi()
    yield api
    api.close()


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def statuses(layer):
    """Return the statuses of the calls to Layer's API."""
    return [one["status"] for one in layer.log() if one["endpoint"] == "business_data"]


def freeze_past_expiry(layer, runtime, run_example, lifetime):
    """Freeze a function until its token has expired; return its seconds before the freeze."""
    layer.set_access_token_lifetime(lifetime)
    started = time.monotonic()
    function = run_example(
        "lambda",
        [sys.executable, RUNTIME, "handler.handler"],
        {"AWS_LAMBDA_RUNTIME_API": runtime.address},
    )
    for _ in range(2):
        assert runtime.invoke(example_event())["statusCode"] == 200, function.output()
    issued = time.monotonic()
    before = issued - started
    os.kill(function.pid, signal.SIGSTOP)
    try:
        eventually(lambda: state(function.pid) == "T")
        # The token was issued before `issued`, so it has expired then.
        eventually(lambda: time.monotonic() > issued + lifetime)
        layer.set_access_token_lifetime(3600)
    finally:
        os.kill(function.pid, signal.SIGCONT)
    for _ in range(2):
        assert runtime.invoke(example_event())["statusCode"] == 200, function.output()
    function.kill()
    return before


def test_b05_frozen_lambda_sends_no_expired_token(layer, runtime, run_example):
    # A token is refreshed after four fifths of its life. A machine that takes so long for two
    # invocations gets a token that lives longer.
    for lifetime in (3, 6, 12, 24, 48):
        layer.reset()
        before = freeze_past_expiry(layer, runtime, run_example, lifetime)
        assert set(statuses(layer)) == {200}, f"a call was refused: {statuses(layer)}"
        if before < lifetime / 2:
            break
    else:
        pytest.fail(f"two invocations took {before:.1f} s, too long for a token of 48 s")
    assert len(statuses(layer)) == 4
    assert layer.count("token") == 2, f"{layer.count('token')} token requests, not two"


def test_lambda_answers_503_while_layer_is_down(layer, runtime, run_example):
    layer.fault("business_data", status=503, times="forever")
    function = run_example(
        "lambda",
        [sys.executable, RUNTIME, "handler.handler"],
        {"AWS_LAMBDA_RUNTIME_API": runtime.address},
    )
    assert runtime.invoke(example_event())["statusCode"] == 503
    eventually(lambda: "Layer did not answer: 503" in function.output(), function.output)
    layer.clear_faults()
    answer = runtime.invoke(example_event())
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"net_profit": 0}
    function.kill()


def test_lambda_runs_as_its_readme_says(layer):
    line = command("lambda", "python -c")
    printed = run_command(line, "lambda", environment(layer))
    assert "'statusCode': 200" in printed
    assert layer.count("token") == 1
