"""B13: after use in the parent, the child of a fork works, with no hang and no request."""

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

from conftest import BUSINESS, PATIENCE, run_python
from layerfi_auth.testing import Emulator

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    # Python warns of every fork of a process with threads; this is what is tested.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def in_child(work) -> None:
    """Run something in a fork, and fail here where it fails or hangs there."""
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
    until = time.monotonic() + PATIENCE
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_child_has_its_parents_token(layer, client):
    token = client.token()

    def child():
        assert client.token() is token
        assert asyncio.run(client.token_async()) is token
        assert client.stats().token_requests == 1

    in_child(child)
    assert layer.count("token") == 1


def test_the_child_makes_requests_of_its_own(layer, client):
    client.token()
    asyncio.run(client.whoami_async())

    def child():
        assert client.whoami().client_name
        assert asyncio.run(client.whoami_async()).client_name
        assert client.business_token(BUSINESS)
        assert client.invalidate(client.token())
        assert asyncio.run(client.token_async())
        # And a child of its own.
        in_child(lambda: asyncio.run(client.whoami_async()))

    connections = layer.counters()["connections"]
    in_child(child)
    assert layer.counters()["connections"] > connections
    assert layer.count("token") == 2
    # The parent is untouched: its connection still serves.
    before = layer.counters()["connections"]
    assert client.whoami()
    assert layer.counters()["connections"] == before
    assert asyncio.run(client.whoami_async())


def test_emulators_and_clients_that_the_child_lets_go():
    """Their threads are the parent's, and the memory of those may be gone by then."""
    # More stacks than the C library keeps.
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


def test_a_client_that_was_never_used(layer, client):
    in_child(lambda: client.token() and asyncio.run(client.whoami_async()))
    assert client.token()


@pytest.mark.parametrize("how", ["blocking", "async"])
def test_fork_in_the_middle_of_a_request(layer, client, how):
    """The flight is the parent's; the child starts its own and does not wait for it."""
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
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert client.token()


def test_fork_in_the_middle_of_a_refresh(layer):
    """Many forks while other threads hit, miss and refresh as fast as they can."""
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
            thread.join(PATIENCE)
    assert client.whoami()


def test_fork_within_a_running_loop(layer, client):
    async def scene():
        await client.token_async()

        def child():
            # A loop's own state does not survive a fork; a thread has its own.
            thread = threading.Thread(target=lambda: asyncio.run(client.whoami_async()))
            thread.start()
            thread.join(PATIENCE)
            assert not thread.is_alive()

        in_child(child)
        return await client.whoami_async()

    assert asyncio.run(scene())


CLIENT = None


def _pool_work(number):
    return CLIENT.token().secret, CLIENT.whoami().client_name, os.getpid(), number


@pytest.mark.parametrize("pool", ["multiprocessing", "concurrent.futures"])
def test_pools_that_fork(layer, client, pool):
    global CLIENT
    CLIENT = client
    token = client.token().secret
    context = multiprocessing.get_context("fork")
    if pool == "multiprocessing":
        with context.Pool(4) as workers:
            results = workers.map_async(_pool_work, range(40)).get(PATIENCE)
    else:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(4, mp_context=context) as workers:
            results = list(workers.map(_pool_work, range(40), timeout=PATIENCE))
    assert {secret for secret, *_ in results} == {token}
    assert all(pid != os.getpid() for *_, pid, _ in results)
    assert layer.count("token") == 1
    CLIENT = None


def test_forkserver_with_a_preloaded_client(layer, tmp_path):
    """The server imports a module that makes and uses a client; its children share it."""
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
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    # One of the main process, one of the server; none of the workers.
    assert layer.count("token") == 2


def test_a_child_that_exits_in_order(layer):
    """`sys.exit` in the child runs its exit handlers: they must not wait for the parent's."""
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
