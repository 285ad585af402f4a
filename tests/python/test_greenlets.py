"""B12: where gevent or eventlet patched blocking functions, a call blocks only its greenlet.

Each program runs in a new process, because patching cannot be undone.
"""

from __future__ import annotations

import signal

import pytest

from conftest import run_python

pytest.importorskip("gevent")
pytest.importorskip("eventlet")

IMPORT = {
    "gevent": """
import gevent
from gevent import GreenletExit, Timeout, sleep, spawn
from gevent.monkey import get_original
kill = gevent.kill
native_thread = lambda *args: get_original("_thread", "start_new_thread")(*args)
def join(task):
    with Timeout(50):
        return task.get()
""",
    "eventlet": """
import warnings
warnings.simplefilter("ignore")
import eventlet
from eventlet import Timeout, sleep, spawn
from greenlet import GreenletExit
kill = lambda task: eventlet.kill(task)
native_thread = lambda *args: eventlet.patcher.original("_thread").start_new_thread(*args)
def join(task):
    with Timeout(50):
        return task.wait()
""",
}
PATCH = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
    "eventlet": (
        "import warnings\nwarnings.simplefilter('ignore')\n"
        "import eventlet\neventlet.monkey_patch()\n"
    ),
}
COMMON = """
import os, sys, time
from layerfi_auth import Client, LayerAuthError, OAuthError
from layerfi_auth.testing import BUSINESS_ID, CLIENT_ID, CLIENT_SECRET, Emulator

ticks = [0]

def tick():
    while True:
        sleep(0.001)
        ticks[0] += 1

def until(condition, what):
    end = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < end, f"{what} within 50 s"
        sleep(0.005)

def others_run():
    # Counted from now on: the greenlets that wait do not hold the hub.
    goal = ticks[0] + 20
    until(lambda: ticks[0] >= goal, "other greenlets did not run")

layer = Emulator(rate_limit=None)
"""
LIBRARIES = ["gevent", "eventlet"]


def run(library, program, *, patched=True):
    """Run a program of greenlets, and return what it printed."""
    patch = PATCH[library] if patched else ""
    return run_python(patch + IMPORT[library] + COMMON + program)


@pytest.mark.parametrize("library", LIBRARIES)
def test_b12_other_greenlets_run_while_a_call_waits(library):
    out = run(
        library,
        """
spawn(tick)
client = layer.client()
calls = {
    "token": [client.token, client.authorization],
    "whoami": [client.whoami],
    "auth_token": [
        lambda: client.business_token(BUSINESS_ID),
        lambda: client.mint_business_token(BUSINESS_ID),
        lambda: next(client.business_tokens([BUSINESS_ID], session_duration=77)),
    ],
}
for route, ways in calls.items():
    for way in ways:
        client.invalidate(client.token())
        sent = layer.count(route)
        layer.fault(route, hold=True)
        waiting = spawn(way)
        until(lambda: layer.count(route) > sent, f"no request to {route}")
        others_run()
        layer.release()
        assert not isinstance(join(waiting), LayerAuthError)
        print(route)
""",
    )
    assert out.split() == ["token"] * 2 + ["whoami"] + ["auth_token"] * 3


@pytest.mark.parametrize("library", LIBRARIES)
def test_b02_b07_fifty_greenlets_share_one_request_and_a_timeout_ends_only_one_wait(library):
    out = run(
        library,
        """
client = layer.client()
layer.fault("token", hold=True)
waiting = [spawn(client.token) for _ in range(50)]
until(lambda: layer.count("token") == 1, "no request was sent")
for call in (client.token, client.authorization, client.whoami):
    started = time.monotonic()
    with Timeout(0.05) as mine:
        try:
            call()
        except Timeout as caught:
            assert caught is mine
            print("timeout")
    assert time.monotonic() - started < 20, "the timeout did not end the wait"
killed = waiting.pop()
kill(killed)
others = len(waiting)
layer.release()
tokens = {id(join(one)) for one in waiting}
print(others, len(tokens), layer.count("token"), client.token().remaining > 0)
""",
    )
    assert out.splitlines() == ["timeout"] * 3 + ["49 1 1 True"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_b12_errors_arrive_in_the_waiting_greenlet(library):
    """Those of the engine, with the provider's exception, and the call's own timeout."""
    out = run(
        library,
        """
spawn(tick)

def vault():
    raise KeyError("vault")

client = layer.client(credentials=vault, client_id=None, max_attempts=1)
try:
    join(spawn(client.token))
except LayerAuthError as error:
    print(type(error).__name__, type(error.__cause__).__name__)
client = layer.client()
layer.fault("token", hold=True, times="forever")
try:
    join(spawn(client.token, timeout=0.2))
except LayerAuthError as error:
    print(type(error).__name__)
layer.release()
""",
    )
    assert out.splitlines() == ["CredentialsError KeyError", "RequestTimeoutError"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_b12_provider_and_log_handler_may_use_patched_functions(library):
    """They run on threads of their own, with their own hubs, while greenlets wait for them."""
    out = run(
        library,
        """
import logging, threading, urllib.request
spawn(tick)
records = []

class Handler(logging.Handler):
    def emit(self, record):
        time.sleep(0.001)
        records.append(record.getMessage())

logging.getLogger("layerfi_auth").addHandler(Handler())
logging.getLogger("layerfi_auth").setLevel(1)
go = []

def vault():
    while not go:
        time.sleep(0.01)
    urllib.request.urlopen(layer.url + "/none").close()
    return CLIENT_ID, CLIENT_SECRET

def safe_vault():
    try:
        return vault()
    except urllib.error.HTTPError as error:
        assert error.code in (401, 404), error
        error.close()
        return CLIENT_ID, CLIENT_SECRET

client = layer.client(credentials=safe_vault, client_id=None, client_secret=None)
waiting = spawn(client.whoami)
others_run()
go.append(True)
print(join(waiting).client_name)
until(lambda: any("got an access token" in one for one in records), "no record was logged")
""",
    )
    assert out == "Layer Example\n"


@pytest.mark.parametrize("library", LIBRARIES)
def test_b12_call_without_other_greenlets(library):
    """Nothing else keeps the hub running, and at first there is no hub."""
    out = run(
        library,
        """
client = layer.client()
print(client.whoami().client_name)
sleep(0.001)
client.invalidate(client.token())
layer.fault("token", delay_ms=300)
print(client.whoami().client_name)
""",
    )
    assert out == "Layer Example\n" * 2


@pytest.mark.parametrize("library", LIBRARIES)
def test_b12_native_thread_in_a_patched_program(library):
    """It has no hub, so the call blocks it and nothing else."""
    out = run(
        library,
        """
spawn(tick)
sleep(0.001)
client = layer.client()
layer.fault("token", hold=True)
names = []
native_thread(lambda: names.append(client.whoami().client_name), ())
until(lambda: layer.count("token") == 1, "no request was sent")
waiting = spawn(client.whoami)
others_run()
layer.release()
print(join(waiting).client_name)
until(lambda: names, "the thread's call did not end")
print(*names)
""",
    )
    assert out == "Layer Example\n" * 2


@pytest.mark.parametrize("library", LIBRARIES)
def test_b12_program_that_imports_greenlets_and_patches_nothing(library):
    """Its code does not expect other greenlets to run during a call."""
    out = run(
        library,
        """
spawn(tick)
sleep(0.01)
client = layer.client()
layer.fault("token", delay_ms=300)
before = ticks[0]
print(client.whoami().client_name, ticks[0] - before)
""",
        patched=False,
    )
    assert out == "Layer Example 0\n"


@pytest.mark.parametrize("library", LIBRARIES)
def test_b12_patched_after_the_first_call(library):
    imports = IMPORT[library]
    out = run_python(
        imports
        + COMMON
        + "client = layer.client()\nclient.token()\n"
        + PATCH[library]
        + """
spawn(tick)
client.invalidate(client.token())
layer.fault("token", hold=True)
waiting = spawn(client.whoami)
until(lambda: layer.count("token") == 2, "no request was sent")
others_run()
layer.release()
print(join(waiting).client_name)
"""
    )
    assert out == "Layer Example\n"


@pytest.mark.parametrize("library", LIBRARIES)
def test_b26_many_ended_waits_leave_no_descriptor(library):
    out = run(
        library,
        """
client = layer.client()
layer.fault("token", hold=True)
spawn(client.token)
until(lambda: layer.count("token") == 1, "no request was sent")
with Timeout(0.01, False):
    client.token()
descriptors = lambda: len(os.listdir("/proc/self/fd"))
before = descriptors()
for _ in range(100):
    with Timeout(0.001, False):
        client.token()
until(lambda: descriptors() <= before + 2, "descriptors are left")
layer.release()
""",
    )
    assert out == ""


@pytest.mark.parametrize("library", LIBRARIES)
def test_b27_ctrl_c_ends_a_wait(library):
    out = run(
        library,
        f"""
client = layer.client()
layer.fault("token", hold=True)

def interrupt():
    until(lambda: layer.count("token") == 1, "no request was sent")
    os.kill(os.getpid(), {int(signal.SIGINT)})

spawn(interrupt)
try:
    client.token()
except KeyboardInterrupt:
    print("interrupted")
""",
    )
    assert out == "interrupted\n"


@pytest.mark.parametrize("library", LIBRARIES)
def test_b27_program_ends_while_greenlets_wait(library):
    out = run(
        library,
        """
import logging

class Slow(logging.Handler):
    def handle(self, record):
        # Not in `emit`, which holds a lock that `logging` waits for at exit.
        time.sleep(60)

logging.getLogger("layerfi_auth").addHandler(Slow())
logging.getLogger("layerfi_auth").setLevel(1)
def stuck():
    time.sleep(60)

started = time.monotonic()
layer.fault("token", hold=True)
for call in (layer.client().token, layer.client(credentials=stuck, client_id=None).whoami):
    spawn(call)
native_thread(layer.client().token, ())
until(lambda: layer.count("token") >= 1, "no request was sent")
import atexit
atexit.register(lambda: print(time.monotonic() - started < 20))
""",
    )
    assert out == "True\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("library", LIBRARIES)
def test_b13_fork_of_a_program_with_greenlets(library):
    """gevent makes a new hub in the child; eventlet leaves that to the program."""
    new_hub = "eventlet.hubs.use_hub()" if library == "eventlet" else "None"
    out = run(
        library,
        f"""
import warnings
warnings.simplefilter("ignore")
client = layer.client()
join(spawn(client.whoami))
layer.fault("whoami", hold=True)
waiting = spawn(client.whoami)
until(lambda: layer.count("whoami") == 2, "no request was sent")
pid = os.fork()
if pid == 0:
    code = 1
    try:
        {new_hub}
        ticker = spawn(tick)
        client.invalidate(client.token())
        assert join(spawn(client.whoami)).client_name
        others_run()
        code = 0
    finally:
        os._exit(code)
_, status = os.waitpid(pid, 0)
layer.release()
print(os.waitstatus_to_exitcode(status), join(waiting).client_name, layer.count("token"))
""",
    )
    assert out == "0 Layer Example 2\n"
