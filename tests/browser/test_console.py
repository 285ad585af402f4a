"""The emulator's console in Chromium."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from layerfi_auth.testing import BUSINESS_ID, Emulator

SCRIPT = Path(__file__).with_name("console.mjs")
SECRET = "console-test-secret"
# In seconds. console.mjs stops itself after 240 s.
TIMEOUT = 270


def test_console_shows_and_does_what_it_says():
    with Emulator(clients=[("console-client", SECRET)], rate_limit=None) as layer:
        client = layer.client()
        token = client.business_token(BUSINESS_ID)
        client.whoami()
        setup = {
            "control_url": layer.control_url,
            "secret": SECRET,
            "tokens": [token.secret, client.token().secret],
            "shots": os.environ.get("CONSOLE_SHOTS"),
        }
        done = subprocess.run(
            ["node", SCRIPT],
            input=json.dumps(setup),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    checks = done.stdout.splitlines()
    assert len(checks) == 13, done.stdout
    assert all(line.startswith("ok ") for line in checks), done.stdout
    for secret in (SECRET, token.secret):
        assert secret not in done.stdout + done.stderr
