"""B25: a program that closes all its file descriptors, as daemons do, goes on to get tokens."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from conftest import TIMEOUT, run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Closes all descriptors but the standard streams, and gives half of their numbers to one end of
# a pair of sockets.
CLOSE = """
import os, pathlib, socket, time

BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
LAST, KEPT, OTHER_END = 200, 201, 202

def threads():
    states = []
    for task in pathlib.Path("/proc/self/task").iterdir():
        try:
            state = (task / "status").read_text()
        except OSError:
            continue
        if state.startswith("Name:\\tlayerfi"):
            wanted = ("State", "voluntary", "nonvoluntary")
            states.append([line for line in state.splitlines() if line.startswith(wanted)])
    return states

def wait_until_idle():
    # What the threads send in the instant of the closing could reach the file that gets the
    # number. A state has the number of times that the thread was woken.
    while True:
        before = threads()
        time.sleep(0.05)
        if threads() == before and all(state[0].startswith("State:\\tS") for state in before):
            return

def close_and_take():
    wait_until_idle()
    ends = socket.socketpair()
    os.dup2(ends[0].fileno(), KEPT)
    os.dup2(ends[1].fileno(), OTHER_END)
    for end in ends:
        end.detach()
    os.set_blocking(OTHER_END, False)
    os.closerange(3, LAST + 1)
    for number in range(3, LAST // 2):
        os.dup2(KEPT, number)

def check():
    try:
        written = os.read(OTHER_END, 100)
    except BlockingIOError:
        pass
    else:
        raise AssertionError(f"written to a file of the program: {written!r}")
    inode = os.fstat(KEPT).st_ino
    for number in range(3, LAST // 2):
        assert os.fstat(number).st_ino == inode, f"descriptor {number} was closed"

def release():
    check()
    os.closerange(3, LAST // 2)
    os.close(KEPT)
    os.close(OTHER_END)
"""

EVERY_CALL = (
    CLOSE
    + """
import asyncio, gc
from layerfi_auth import Client

def every_call(client):
    client.invalidate(client.token())
    client.token()
    client.whoami()
    client.mint_business_token(BUSINESS)
    assert len(list(client.business_tokens([BUSINESS]))) == 1

def provider():
    return os.environ["LAYER_CLIENT_ID"], os.environ["LAYER_CLIENT_SECRET"]

for settings in ({}, {"credentials": provider}):
    for first in (
        lambda client: client.whoami(),
        lambda client: client.mint_business_token(BUSINESS),
        lambda client: list(client.business_tokens([BUSINESS])),
        lambda client: asyncio.run(client.whoami_async()),
    ):
        client = Client.from_env(proxy=False, **settings)
        every_call(client)
        asyncio.run(client.whoami_async())
        close_and_take()
        first(client)
        every_call(client)
        check()
        del client
        gc.collect()
        time.sleep(0.1)
        release()
print("done")
"""
)


def test_b25_every_call_works_after_the_program_closed_all_descriptors(layer):
    assert run_python(EVERY_CALL, layer).split() == ["done"]


IN_FLIGHT = (
    CLOSE
    + """
import sys, threading
from layerfi_auth import Client, TransportError

client = Client.from_env(proxy=False, timeout=3600, attempt_timeout=3600)

def wait():
    try:
        if sys.argv[1] == "whoami":
            client.whoami()
        else:
            list(client.business_tokens([BUSINESS]))
    except TransportError as error:
        assert error.retryable, error
        assert "closed this library's file descriptors" in str(error), error
    else:
        raise AssertionError("the call has a result")
    ended.set()

ended = threading.Event()
# A daemon, so that a failure ends the program.
thread = threading.Thread(target=wait, daemon=True)
thread.start()
sys.stdin.readline()
close_and_take()
client.whoami()
assert ended.wait(60), "the call in flight did not end"
release()
print("done")
"""
)


@pytest.mark.parametrize("endpoint", ["whoami", "auth_token"])
def test_b08_b25_call_in_flight_ends_when_another_finds_descriptors_closed(layer, endpoint):
    layer.fault(endpoint, hold=True)
    program = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", IN_FLIGHT, endpoint],
        env={**os.environ, **layer.env()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert layer.wait_for(endpoint, 1), "the program sent no request"
        printed, errors = program.communicate("close\n", timeout=TIMEOUT)
    finally:
        program.kill()
        program.wait()
    assert (program.returncode, printed.split(), errors) == (0, ["done"], "")
