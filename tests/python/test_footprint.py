"""Time, memory and logs of all cases of the table, run together in one new process.

A new process, because the peak of its memory is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import secret_scanner
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET

MAX_KIB = 32 * 1024
PROGRAM = Path(__file__).with_name("run_all_cases.py")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="requires /proc")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("transport", ["plain", "tls"])
def test_b08_b19_b20_all_cases_stay_within_time_and_memory_and_log_no_secret(transport):
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", PROGRAM, transport],
        env={**os.environ, "RUST_LOG": "trace", "RUST_BACKTRACE": "full"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=800)
    finally:
        process.kill()
        process.communicate()
    secrets = secret_scanner.Secrets()
    secrets.add_credentials(CLIENT_ID, CLIENT_SECRET)
    secrets.check("standard error", err)
    assert process.returncode == 0, f"exit code {process.returncode}: {err}"
    secrets.check("standard output", out)
    report = json.loads(out)
    grown = report["grown_kib"]
    assert report["failed"] == [], f"cases failed: {report['failed']}"
    assert report["late"] == [], f"cases took longer than their timeouts: {report['late']}"
    assert report["shows"] == [], f"log records show a secret: {report['shows']}"
    assert grown < MAX_KIB, f"memory grew by {grown} KiB, at most {MAX_KIB} KiB are allowed"
    # Without runs and log records nothing was tested.
    assert report["runs"] > 300, f"only {report['runs']} cases ran"
    logged = report["records"]["layerfi_auth"]
    assert logged > 100, f"only {logged} records were logged"


def test_secret_scanner_finds_secrets():
    secrets = secret_scanner.Secrets()
    secrets.add_credentials(CLIENT_ID, "s3cret-Of-Mine")
    for shown in (
        "eyJhbGciOiJFUzI1NiJ9",
        "Authorization: Basic aWQ6c2VjcmV0",
        "a CANARY text",
        "client_secret='s3cret-Of-Mine'",
        repr(list(b"s3cret-Of-Mine")),
        "ZW11bGF0b3ItY2xpZW50LWlkOnMzY3JldC1PZi1NaW5l",
    ):
        assert secrets.found_in(f"before {shown} after"), shown
    assert secrets.found_in("layerfi_auth: a new access token; number: 1") is None

    class Mine:
        __slots__ = ("inner",)

    Mine.__module__ = "layerfi_auth.made_up"
    mine = Mine()
    mine.inner = "s3cret-Of-Mine"
    assert secrets.found_in(repr(mine)) is None
    assert secrets.found_in(secret_scanner.deep_repr(mine))

    def raises():
        held = "s3cret-Of-Mine"
        raise ValueError(len(held)) from OSError("s3cret-Of-Mine")

    with pytest.raises(ValueError, match="14") as caught:
        raises()
    assert secrets.found_in(str(caught.value)) is None
    assert secrets.found_in(secret_scanner.of_exception(caught.value))
    assert secrets.found_in(secret_scanner.with_variables(caught.value))
    assert any(
        secrets.found_in(secret_scanner.variables_of(one))
        for one in secret_scanner.frames(caught.value)
    )
    assert secrets.found_in(secret_scanner.with_variables(caught.value, skip=__file__))
    with pytest.raises(pytest.fail.Exception, match="^here shows the token$"):
        secrets.check("here", "eyJhbGciOiJFUzI1NiJ9")
