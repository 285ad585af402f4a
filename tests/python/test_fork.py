"""B13: a client that was used before a fork works in the child, without a new token request."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from conftest import BUSINESS, TIMEOUT, eventually, run_python
from layerfi_auth.testing import Emulator

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="requires fork"),
    # Python warns of each fork of a process with threads, which these tests need.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def in_child(work) -> None:
    """Run something in a forked child; fail if it fails or hangs."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # noqa: BLE001
            sys.__stderr__.write(f"in the child: {error!r}\n")
        finally:
            os._exit(code)
    until = time.monotonic() + TIMEOUT
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail(f"the child did not end within {TIMEOUT:.0f} s")
        time.sleep(0.01)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0, f"the child ended with exit code {code}; see standard error"


def test_b13_child_uses_its_parents_token(layer, client):
    token = client.token()

    def child():
        assert client.token() is token
        assert asyncio.run(client.token_async()) is token
        assert client.stats().token_requests == 1

    in_child(child)
    assert layer.count("token") == 1


def test_b13_child_prepares_anew_during_its_parents_request(layer, client):
    def prepared() -> bool:
        client.prepare()
        return client.stats().expires_at is not None

    layer.fault("token", hold=True)
    client.prepare()
    assert layer.wait_for("token", 1)
    in_child(lambda: eventually(prepared))
    assert layer.count("token") == 2
    layer.release()
    eventually(prepared)
    # A child of a process with a token sends no request.
    in_child(lambda: eventually(prepared))
    assert layer.count("token") == 2


def test_b13_child_makes_requests_over_its_own_connections(layer, client):
    client.token()
    asyncio.run(client.whoami_async())

    def child():
        assert client.whoami().client_name
        assert asyncio.run(client.whoami_async()).client_name
        assert client.business_token(BUSINESS)
        assert client.invalidate(client.token())
        assert asyncio.run(client.token_async())
        # The child may fork too.
        in_child(lambda: asyncio.run(client.whoami_async()))

    connections = layer.counters()["connections"]
    in_child(child)
    assert layer.counters()["connections"] > connections
    assert layer.count("token") == 2
    # The parent still uses its own connection.
    before = layer.counters()["connections"]
    assert client.whoami()
    assert layer.counters()["connections"] == before
    assert asyncio.run(client.whoami_async())


def test_b13_child_may_drop_its_parents_emulators_and_clients():
    """Their threads exist only in the parent, and the child may reuse the threads' memory."""
    # More thread stacks than the C library caches.
    emulators = [Emulator(rate_limit=None) for _ in range(40)]
    clients = [emulator.client() for emulator in emulators]
    for client in clients[:5]:
        asyncio.run(client.whoami_async())

    def child():
        for _ in range(3):
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
        clients.clear()
        emulators.clear()
        gc.collect()

    in_child(child)
    assert clients[0].whoami()
    for emulator in emulators:
        emulator.stop()


def test_b13_unused_client_works_in_the_child(layer, client):
    in_child(lambda: client.token() and asyncio.run(client.whoami_async()))
    assert client.token()


@pytest.mark.parametrize("how", ["blocking", "async"])
def test_b13_fork_during_a_request(layer, client, how):
    """The request belongs to the parent; the child makes its own and does not wait."""
    layer.fault("token", hold=True)
    call = client.token if how == "blocking" else lambda: asyncio.run(client.token_async())
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert layer.wait_for("token", 1)
    in_child(lambda: client.token() and asyncio.run(client.token_async()))
    assert layer.count("token") == 2
    layer.release()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    assert client.token()


def test_b13_fork_during_refreshes(layer):
    """Forks while other threads use, invalidate and refresh the token all the time."""
    layer.set_access_token_lifetime(1)
    client = layer.client()
    client.token()
    stop = threading.Event()

    def hammer():
        while not stop.is_set():
            client.token()
            client.invalidate(client.token())
            asyncio.run(client.token_async())

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            in_child(
                lambda: (
                    client.token()
                    and client.whoami()
                    and asyncio.run(client.business_token_async(BUSINESS))
                )
            )
    finally:
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT)
    assert client.whoami()


def test_b13_fork_in_a_running_loop(layer, client):
    async def scene():
        await client.token_async()

        def child():
            # A running loop does not work in the child; a new thread has a new loop.
            thread = threading.Thread(target=lambda: asyncio.run(client.whoami_async()))
            thread.start()
            thread.join(TIMEOUT)
            assert not thread.is_alive()

        in_child(child)
        return await client.whoami_async()

    assert asyncio.run(scene())


CLIENT = None


def _pool_work(number):
    return CLIENT.token().secret, CLIENT.whoami().client_name, os.getpid(), number


@pytest.mark.parametrize("pool", ["multiprocessing", "concurrent.futures"])
def test_b13_forking_pools_share_the_token(layer, client, pool):
    global CLIENT
    CLIENT = client
    token = client.token().secret
    context = multiprocessing.get_context("fork")
    if pool == "multiprocessing":
        with context.Pool(4) as workers:
            results = workers.map_async(_pool_work, range(40)).get(TIMEOUT)
    else:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(4, mp_context=context) as workers:
            results = list(workers.map(_pool_work, range(40), timeout=TIMEOUT))
    assert {secret for secret, *_ in results} == {token}
    assert all(pid != os.getpid() for *_, pid, _ in results)
    assert layer.count("token") == 1
    CLIENT = None


def test_b13_forkserver_with_a_preloaded_client(layer, tmp_path):
    """The forkserver imports a module with a client, and its children share the token."""
    (tmp_path / "shared_client.py").write_text(
        "from layerfi_auth import Client\n"
        "client = Client.from_env(proxy=False)\n"
        "client.token()\n"
        "def work(n):\n"
        "    return client.token().secret, client.whoami().client_name\n"
    )
    (tmp_path / "main.py").write_text(
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('forkserver')\n"
        "    context.set_forkserver_preload(['shared_client'])\n"
        "    import shared_client\n"
        "    with context.Pool(3) as pool:\n"
        "        results = pool.map(shared_client.work, range(12))\n"
        "    print(len({secret for secret, _ in results}))\n"
    )
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env={**os.environ, **layer.env(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    # One by the main process and one by the forkserver; none by the workers.
    assert layer.count("token") == 2


def test_b13_child_ends_with_sys_exit(layer):
    """`sys.exit` runs exit handlers, which must not wait for threads of the parent."""
    out = run_python(
        """
import asyncio, logging, os, sys, warnings
warnings.simplefilter("ignore")
logging.basicConfig(level=1)
from layerfi_auth import Client
client = Client.from_env(proxy=False)
asyncio.run(client.token_async())
pid = os.fork()
if pid == 0:
    client.whoami()
    sys.exit(7)
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
pid = os.fork()
if pid == 0:
    sys.exit(8)
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
""",
        layer,
    )
    assert out.split() == ["7", "8"]


@pytest.mark.skipif(sys.platform != "linux", reason="uses a system call of Linux")
def test_b13_fork_without_handlers_is_noticed(layer):
    """Neither Python nor the library is told of a raw `clone` or of glibc's `_Fork`."""
    out = run_python(
        """
import asyncio, ctypes, os, platform, signal, time
from pathlib import Path
from layerfi_auth import Client

# Keeps the GIL, which another thread could have in the child otherwise.
libc = ctypes.PyDLL(None)
clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
forks = [lambda: libc.syscall(clone, int(signal.SIGCHLD), 0, 0, 0, 0)]
if hasattr(libc, "_Fork"):
    forks.append(libc._Fork)

def state(task):
    try:
        return (task / "stat").read_text().rpartition(") ")[2][0]
    except OSError:  # The thread has ended.
        return "S"

def wait_until_other_threads_sleep():
    # They must not be in the allocator, whose lock the child would wait for.
    until, seen = time.monotonic() + 50, 0
    while seen < 10:
        assert time.monotonic() < until, "a thread of the library never sleeps"
        time.sleep(0.003)
        tasks = Path("/proc/self/task").iterdir()
        states = [state(task) for task in tasks if task.name != str(os.getpid())]
        seen = seen + 1 if set(states) <= {"S"} else 0

def calls(client):
    return [
        client.token,
        client.whoami,
        lambda: asyncio.run(client.token_async()),
        lambda: asyncio.run(client.whoami_async()),
        lambda: client.business_token("3fa85f64-5717-4562-b3fc-2c963f66afa6"),
    ]

for fork in forks:
    for used in (False, True):
        for number in range(5):
            client = Client.from_env(proxy=False)
            if used:
                asyncio.run(client.whoami_async())
                client.invalidate(client.token())
            wait_until_other_threads_sleep()
            pid = fork()
            if pid == 0:
                signal.alarm(60)
                calls(client)[number]()
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            assert status == 0, (fork, used, number, status)
            client.whoami()
print("end")
""",
        layer,
        timeout=3 * TIMEOUT,
    )
    assert out == "end\n"


@pytest.fixture
def fork_without_the_gil(tmp_path):
    """A library whose function forks a moment after it released the GIL, as uWSGI does."""
    source, library = tmp_path / "fork.c", tmp_path / "fork.so"
    source.write_text("""
#include <unistd.h>
int fork_after_a_pause(void) { usleep(2000); return fork(); }
""")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return str(library)


def test_b13_fork_without_the_gil(layer, fork_without_the_gil):
    """As uWSGI forks: the child waits for the GIL forever if another thread has it."""
    out = run_python(
        """
import ctypes, logging, os, signal, sys, time
from layerfi_auth import Client

class SlowHandler(logging.Handler):
    def emit(self, record):
        for _ in range(500_000):  # Holds the GIL, except when another thread asks for it.
            pass

logging.getLogger("layerfi_auth").addHandler(SlowHandler())
logging.getLogger("layerfi_auth").setLevel(logging.DEBUG)
# Without the GIL, which the library's threads then take.
fork = ctypes.CDLL(os.environ["FORK"]).fork_after_a_pause
for number in range(20):
    for _ in range(3):
        Client.from_env(proxy=False).token()
    pid = fork()
    if pid == 0:
        os._exit(0)
    until = time.monotonic() + 60
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            sys.exit(f"child {number} waits for the GIL")
        time.sleep(0.001)
print("end")
""",
        layer,
        timeout=3 * TIMEOUT,
        FORK=fork_without_the_gil,
    )
    assert out == "end\n"


def test_b13_fork_without_the_gil_does_not_wait_for_a_handler(layer, fork_without_the_gil):
    """The handler may wait for hours, without the GIL; the fork waits for a second."""
    out = run_python(
        """
import ctypes, logging, os, threading
from layerfi_auth import Client

begun, ended = threading.Event(), threading.Event()

class Waits(logging.Handler):
    def emit(self, record):
        begun.set()
        ended.wait()

logging.getLogger("layerfi_auth").addHandler(Waits())
logging.getLogger("layerfi_auth").setLevel(logging.DEBUG)
Client.from_env(proxy=False).token()
begun.wait()
pid = ctypes.CDLL(os.environ["FORK"]).fork_after_a_pause()
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
ended.set()
print("end")
""",
        layer,
        FORK=fork_without_the_gil,
    )
    assert out == "end\n"
