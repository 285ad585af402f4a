"""Fixtures and helpers of all tests."""

from __future__ import annotations

import inspect
import itertools
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerfi_auth.testing import Emulator

ROOT = Path(__file__).resolve().parents[2]
BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
# Longest wait for anything, in seconds. Only a test that fails waits so long.
TIMEOUT = 60.0

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("LAYER_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def layer():
    """An emulator without a rate limit, which most tests do not need."""
    with Emulator(rate_limit=None) as emulator:
        yield emulator


@pytest.fixture
def client(layer):
    # With long timeouts: on a slow machine a test may hold a response for longer than an
    # attempt takes by default, and a second request would be sent.
    return layer.client(timeout=TIMEOUT, attempt_timeout=TIMEOUT)


def business(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def eventually(condition, timeout=TIMEOUT):
    """Wait until a condition is true."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            try:
                source = inspect.getsource(condition).strip()
            except (OSError, TypeError):
                source = repr(condition)
            pytest.fail(f"this did not become true within {timeout:.0f} s: {source}")
        time.sleep(0.01)


# Below the ports that the system hands out, each process of pytest has a thousand of its
# own. A port of the system could go to another test before the server listens on it.
_PORTS = itertools.cycle(range(1_000))


def free_port() -> int:
    """Return a free port that no other test gets."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    for number in itertools.islice(_PORTS, 1_000):
        port = 20_000 + 1_000 * process + number
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    return pytest.fail("none of a thousand ports is free")


def run_python(code: str, layer: Emulator | None = None, timeout=TIMEOUT, **env: str):
    """Run a program in a new interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env={**os.environ, **(layer.env() if layer else {}), **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, (
        f"the program ended with exit code {done.returncode}; it printed {done.stdout!r} "
        f"and {done.stderr!r}"
    )
    return done.stdout
