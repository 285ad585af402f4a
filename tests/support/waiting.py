"""Waits and ports for the tests in Python."""

from __future__ import annotations

import inspect
import itertools
import os
import socket
import time
from collections.abc import Callable

import pytest

# Longest wait for anything, in seconds. Only a test that fails waits so long.
TIMEOUT = 60.0


def eventually(
    condition: Callable[[], object],
    describe: Callable[[], str] | None = None,
    timeout: float = TIMEOUT,
) -> None:
    """Wait until a condition is true."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            try:
                what = describe() if describe else inspect.getsource(condition).strip()
            except (OSError, TypeError):
                what = repr(condition)
            pytest.fail(f"this did not become true within {timeout:.0f} s: {what}")
        time.sleep(0.01)


_NUMBERS = itertools.cycle(range(1_000))


def port_from(first: int) -> int:
    """Return a free port that no other test gets.

    ``first`` is the first port of a group of tests, below the ports that the system hands out:
    a port of the system could go to another test before the server listens on it. Each of the
    ten processes of pytest has a thousand ports from there on.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    for number in itertools.islice(_NUMBERS, 1_000):
        port = first + 1_000 * process + number
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    return pytest.fail("none of a thousand ports is free")
