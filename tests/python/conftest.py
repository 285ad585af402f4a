"""Fixtures and helpers of all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerfi_auth.testing import Emulator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

from waiting import TIMEOUT, eventually, port_from  # noqa: E402

__all__ = ["TIMEOUT", "eventually"]
BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"

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


def free_port() -> int:
    """Return a free port that no other test gets."""
    return port_from(20_000)


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
