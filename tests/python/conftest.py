"""What the tests share."""

from __future__ import annotations

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
PATIENCE = 30.0

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("LAYER_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def layer():
    """An emulator without a rate limit, which would only get in the way."""
    with Emulator(rate_limit=None) as emulator:
        yield emulator


@pytest.fixture
def client(layer):
    return layer.client()


def business(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def eventually(condition, patience=PATIENCE):
    """Wait until a condition holds."""
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_python(code: str, layer: Emulator | None = None, timeout=PATIENCE, **env: str):
    """Run a program in a fresh interpreter, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env={**os.environ, **(layer.env() if layer else {}), **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout
