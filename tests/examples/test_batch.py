"""examples/batch: one token request for a list of any length."""

from __future__ import annotations

import json
import subprocess
import sys

from conftest import EXAMPLES, commands, environment
from layerfi_auth.testing import CLIENT_SECRET

# A slow machine needs half a minute for 10,000 mints.
LONG = 240


def mint(layer, ids):
    line = next(one for one in commands("batch") if "mint.py" in one)
    assert "python mint.py <" in line, f"the README runs another program: {line}"
    return subprocess.run(
        [sys.executable, "mint.py"],
        cwd=EXAMPLES / "batch",
        env=environment(layer),
        input="".join(f"{one}\n" for one in ids),
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def test_b02_batch_of_10000_sends_one_token_request_and_10000_mints(layer):
    line = next(one for one in commands("batch") if "uuid4" in one)
    program = line.removeprefix("python -c '").partition("' >")[0]
    made = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=LONG,
    )
    ids = made.stdout.split()
    assert len(set(ids)) == 10_000, "the README's command does not print 10,000 ids"

    done = mint(layer, ids)
    assert done.returncode == 0, done.stderr[-2_000:]
    tokens = [json.loads(one) for one in done.stdout.splitlines()]
    assert [one["business_id"] for one in tokens] == ids
    assert len({one["access_token"] for one in tokens}) == 10_000
    assert "100%" in done.stderr, "the progress bar is not full"
    assert "10000/10000" in done.stderr
    assert "10000 minted, 0 failed" in done.stderr
    assert layer.count("token") == 1, f"{layer.count('token')} token requests, not one"
    assert layer.count("auth_token") == 10_000
    assert CLIENT_SECRET not in done.stdout + done.stderr


def test_batch_reports_failed_businesses_and_mints_the_others(layer):
    layer.fault("auth_token", status=403, times=2)
    ids = [f"00000000-0000-4000-8000-{number:012x}" for number in range(20)]
    done = mint(layer, [*ids, "no-uuid"])
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 18
    assert "18 minted, 3 failed" in done.stderr
    assert "no-uuid: " in done.stderr
    assert "eyJ" not in done.stderr
