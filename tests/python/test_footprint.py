"""Whatever a server does, a call ends in its time, takes little memory, and shows nothing.

The whole table in one process, emulators and all; one of its own, since a process has one peak.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sight
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET

MOST_KIB = 32 * 1024
PROGRAM = Path(__file__).with_name("whole_table.py")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("transport", ["plain", "tls"])
def test_b08_b19_b20_no_case_is_late_or_large_or_logs_a_secret(transport):
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", PROGRAM, transport],
        env={**os.environ, "RUST_LOG": "trace", "RUST_BACKTRACE": "full"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=110)
    finally:
        process.kill()
        process.communicate()
    secrets = sight.Secrets()
    secrets.add_credentials(CLIENT_ID, CLIENT_SECRET)
    secrets.check("standard error", err)
    assert process.returncode == 0, err
    secrets.check("standard output", out)
    told = json.loads(out)
    sys.stdout.write(f"{told['runs']} runs, {told['grown_kib']} KiB over the start at most\n")
    assert told["failed"] == []
    assert told["late"] == []
    assert told["shows"] == []
    assert told["grown_kib"] < MOST_KIB
    # It is no test where nothing was run, or nothing logged.
    assert told["runs"] > 300
    assert told["records"]["layerfi_auth"] > 100


def test_what_looks_for_secrets_finds_them():
    secrets = sight.Secrets()
    secrets.add_credentials(CLIENT_ID, "s3cret-Of-Mine")
    for shown in (
        "eyJhbGciOiJFUzI1NiJ9",
        "Authorization: Basic aWQ6c2VjcmV0",
        "a CANARY sings",
        "client_secret='s3cret-Of-Mine'",
        repr(list(b"s3cret-Of-Mine")),
        "ZW11bGF0b3ItY2xpZW50LWlkOnMzY3JldC1PZi1NaW5l",
    ):
        assert secrets.seen_in(f"before {shown} after"), shown
    assert secrets.seen_in("layerfi_auth: a new access token; number: 1") is None

    class Ours:
        __slots__ = ("inner",)

    Ours.__module__ = "layerfi_auth.made_up"
    ours = Ours()
    ours.inner = "s3cret-Of-Mine"
    assert secrets.seen_in(repr(ours)) is None
    assert secrets.seen_in(sight.closely(ours))

    def raises():
        held = "s3cret-Of-Mine"
        raise ValueError(len(held)) from OSError("s3cret-Of-Mine")

    with pytest.raises(ValueError, match="14") as caught:
        raises()
    assert secrets.seen_in(str(caught.value)) is None
    assert secrets.seen_in(sight.of_exception(caught.value))
    assert secrets.seen_in(sight.with_variables(caught.value))
    assert any(secrets.seen_in(sight.of_frame(one)) for one in sight.frames(caught.value))
    assert secrets.seen_in(sight.with_variables(caught.value, but=__file__))  # The cause.
    with pytest.raises(pytest.fail.Exception, match="^here shows the token$"):
        secrets.check("here", "eyJhbGciOiJFUzI1NiJ9")
