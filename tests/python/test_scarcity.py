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


LIMITED_BY_A_CGROUP = """
import asyncio, sys, time
from layerfi_auth import Client, LayerAuthError

BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
client = Client.from_env(proxy=False, max_attempts=1)
calls = [
    client.token,
    client.whoami,
    lambda: client.business_token(BUSINESS),
    lambda: asyncio.run(client.whoami_async()),
]
print("ready", flush=True)
sys.stdin.readline()
for call in calls:
    try:
        call()
    except LayerAuthError as error:
        print(error.kind, error.retryable, flush=True)
    else:
        print("no error", flush=True)
sys.stdin.readline()
for call in calls:
    until = time.monotonic() + 60
    while True:
        try:
            call()
            break
        except LayerAuthError as error:
            assert error.retryable and time.monotonic() < until, error
            time.sleep(0.1)
print("healed", flush=True)
"""


@pytest.fixture
def group_of_processes():
    """A new control group that can limit the number of threads, as that of a container."""
    root = Path("/sys/fs/cgroup")
    for parent in (root / "pids", root):
        group = parent / f"layerfi-auth-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / "pids.max").exists():
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("this user cannot make a control group that limits threads")


def test_b26_limit_of_a_cgroup_is_a_retryable_error_that_heals(layer, group_of_processes):
    limit = group_of_processes / "pids.max"
    process = subprocess.Popen(
        [sys.executable, "-c", LIMITED_BY_A_CGROUP],
        env={**os.environ, **layer.env()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n", "the program did not start"
        (group_of_processes / "cgroup.procs").write_text(str(process.pid))
        # The program has one thread, which is not counted before it is moved.
        limit.write_text("1")
        process.stdin.write("\n")
        process.stdin.flush()
        errors = [process.stdout.readline() for _ in range(4)]
        limit.write_text("max")
        out, err = process.communicate("\n", timeout=2 * TIMEOUT)
    finally:
        process.kill()
        process.wait()
    assert errors == ["transport True\n"] * 4, f"{errors}, {err!r}"
    assert (process.returncode, out, err) == (0, "healed\n", "")
