"""B26: a process without threads or file descriptors gets retryable errors that heal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TIMEOUT, run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PROBE = Path(__file__).with_name("scarcity_probe.py")


@pytest.mark.parametrize("kind", ["threads", "descriptors"])
def test_b26_every_call_is_a_retryable_error_that_heals(layer, kind):
    # Another user reads it.
    folder = Path(os.path.realpath("/tmp")) / f"layerfi-scarcity-{os.getpid()}-{kind}"
    folder.mkdir(mode=0o755)
    try:
        secret = folder / "secret"
        secret.write_text(layer.env()["LAYER_CLIENT_SECRET"])
        # By name, so that the client looks names up.
        variables = {
            name: value.replace("//127.0.0.1:", "//localhost:")
            for name, value in layer.env().items()
        }
        done = subprocess.run(
            [sys.executable, "-B", str(PROBE), kind],
            env={**os.environ, **variables, "SECRET_FILE": str(secret)},
            capture_output=True,
            text=True,
            timeout=10 * TIMEOUT,
            check=False,
        )
    finally:
        secret.unlink(missing_ok=True)
        folder.rmdir()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


CLOSED_DESCRIPTOR = """
import asyncio, os, sys
from layerfi_auth import Client, InternalError, LayerAuthError

client = Client.from_env(proxy=False)
client.whoami()

def close_wakers():
    for name in os.listdir("/proc/self/fd"):
        try:
            if "eventfd" in os.readlink(f"/proc/self/fd/{name}"):
                os.close(int(name))
        except OSError:
            pass

close_wakers()
for call in (client.whoami, lambda: asyncio.run(client.whoami_async())):
    try:
        call()
    except Exception as error:
        assert isinstance(error, LayerAuthError), repr(error)
        print(type(error).__name__)
# The interpreter would wait for the engine, whose descriptors are gone.
sys.stdout.flush()
os._exit(0)
"""


def test_b23_panic_in_a_call_is_an_exception_of_this_package(layer):
    # The engine's Tokio panics in the calling thread if it cannot wake its thread.
    assert run_python(CLOSED_DESCRIPTOR, layer).split() == ["InternalError", "InternalError"]
