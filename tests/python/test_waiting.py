"""Never in the way: the GIL, Ctrl-C, cancelled tasks, event loops of every kind."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import BUSINESS, PATIENCE, business, eventually, run_python
from layerfi_auth import InternalError, LayerAuthError, OAuthError
from layerfi_auth._waiting import arrival


def test_the_gil_is_released_in_every_wait(layer, client):
    """While one thread waits, another gets on."""
    client.token()
    for endpoint, call in [
        ("token", lambda: layer.client().token()),
        ("token", lambda: layer.client().authorization()),
        ("whoami", client.whoami),
        ("auth_token", lambda: client.business_token(BUSINESS)),
        ("auth_token", lambda: client.mint_business_token(BUSINESS)),
        ("auth_token", lambda: list(client.business_tokens([business(7)]))),
    ]:
        layer.fault(endpoint, hold=True)
        before = layer.count(endpoint)
        thread = threading.Thread(target=call)
        thread.start()
        # Only with the GIL can this thread see the request arrive, and release it.
        assert layer.wait_for(endpoint, before + 1)
        assert thread.is_alive()
        layer.release()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_b02_a_cold_herd_of_threads_makes_one_request(layer, client):
    layer.fault("token", delay_ms=200)
    with ThreadPoolExecutor(64) as threads:
        tokens = [done.result() for done in [threads.submit(client.token) for _ in range(64)]]
    assert len(set(map(id, tokens))) == 1
    assert layer.count("token") == 1


def test_b02_threads_and_loops_share_one_request(layer, client):
    layer.fault("token", delay_ms=300)

    async def tasks():
        return await asyncio.gather(*(client.token_async() for _ in range(50)))

    with ThreadPoolExecutor(8) as threads:
        blocking = [threads.submit(client.token) for _ in range(4)]
        loops = [threads.submit(asyncio.run, tasks()) for _ in range(4)]
        tokens = [one.result() for one in blocking]
        tokens += [token for loop in loops for token in loop.result()]
    assert len(tokens) == 204
    assert len(set(tokens)) == 1
    assert layer.count("token") == 1


def test_b03_a_failing_herd_gets_errors_of_its_own(layer):
    client = layer.client()
    layer.fault("token", status=400, body={"error": "invalid_client"}, delay_ms=100)

    async def tasks():
        calls = [client.token_async() for _ in range(20)]
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = asyncio.run(tasks())
    assert {type(error) for error in errors} == {OAuthError}
    # An exception carries a traceback: two tasks must not share one.
    assert len(set(map(id, errors))) == 20
    assert layer.count("token") == 1


CTRL_C = """
import signal, sys, threading, time
from layerfi_auth import Client
# A shell that starts something in the background has it ignore this signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
client = Client.from_env(proxy=False)
print("ready", flush=True)
started = time.monotonic()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    "call",
    [
        "client.token()",
        "client.whoami()",
        "list(client.business_tokens(['3fa85f64-5717-4562-b3fc-2c963f66afa6']))",
        "__import__('asyncio').run(client.token_async())",
    ],
)
def test_ctrl_c_ends_a_blocked_call_at_once(layer, call):
    layer.fault("token", hold=True)
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C.format(call=call)],
        env={**os.environ, **layer.env()},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        assert layer.wait_for("token", 1)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(PATIENCE) == 0
        assert time.monotonic() - started < 2
    finally:
        process.kill()
        process.communicate()


def test_a_signal_handler_runs_while_a_call_waits(layer, client):
    layer.fault("token", hold=True)
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: (seen.append(1), layer.release()))
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert client.token()
        assert seen == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_b07_a_cancelled_task_leaves_the_flight_to_the_others(layer, client):
    layer.fault("token", hold=True)

    async def scene():
        leader = asyncio.create_task(client.token_async())
        while layer.count("token") == 0:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(client.token_async()) for _ in range(3)]
        await asyncio.sleep(0.05)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        layer.release()
        return await asyncio.gather(*others)

    tokens = asyncio.run(scene())
    assert len(set(tokens)) == 1
    assert layer.count("token") == 1


def test_b08_an_asyncio_timeout_ends_the_wait_and_not_the_flight(layer, client):
    layer.fault("token", hold=True)

    async def scene():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.token_async(), 0.2)
        with pytest.raises(TimeoutError):
            await client.token_async(timeout=0.2)
        layer.release()
        return await client.token_async()

    assert asyncio.run(scene())
    assert layer.count("token") == 1


def test_b08_a_blocking_timeout_leaves_the_flight_too(layer, client):
    layer.fault("token", hold=True)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        client.token(timeout=0.2)
    assert 0.1 < time.monotonic() - started < 2
    layer.release()
    assert client.token()
    assert layer.count("token") == 1


def test_an_awaited_hit_makes_no_trip_through_the_loop(client):
    client.token()
    for call in (client.token_async, client.authorization_async):
        coroutine = call()
        with pytest.raises(StopIteration):
            coroutine.send(None)  # No loop anywhere: it is ready at once.
    client.business_token(BUSINESS)
    with pytest.raises(StopIteration):
        client.business_token_async(BUSINESS).send(None)


def test_the_async_calls_are_coroutine_functions(client):
    for name in dir(client):
        if name.endswith("_async"):
            assert inspect.iscoroutinefunction(getattr(client, name)), name


def test_b12_works_after_the_first_loop_is_closed(layer, client):
    first = asyncio.run(client.token_async())
    assert asyncio.run(client.token_async()) is first
    client.invalidate(first)
    assert asyncio.run(client.token_async()) != first
    assert asyncio.run(client.whoami_async()) == client.whoami()


def test_a_loop_that_is_closed_while_a_call_is_in_the_air(layer, client):
    layer.fault("token", hold=True)
    loop = asyncio.new_event_loop()
    task = loop.create_task(client.token_async())
    loop.run_until_complete(asyncio.sleep(0.05))
    assert layer.wait_for("token", 1)
    loop.close()
    layer.release()
    assert client.token()
    assert layer.count("token") == 1
    task._log_destroy_pending = False


def test_uvloop(layer, client):
    import uvloop

    layer.fault("token", delay_ms=50)
    loop = uvloop.new_event_loop()
    try:
        token = loop.run_until_complete(client.token_async())
        assert loop.run_until_complete(client.token_async()) is token
        assert loop.run_until_complete(client.whoami_async())
        with pytest.raises(LayerAuthError):
            loop.run_until_complete(client.mint_business_token_async("x"))
    finally:
        loop.close()


def test_trio(layer, client):
    import trio

    layer.fault("token", delay_ms=50)

    async def scene():
        tokens = []

        async def one():
            tokens.append(await client.token_async())

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
        assert len(set(tokens)) == 1
        assert await client.whoami_async()
        layer.fault("whoami", hold=True)
        with trio.move_on_after(0.2) as scope:
            await client.whoami_async()
        assert scope.cancelled_caught
        layer.release()
        layer.fault("whoami", status=404)
        with pytest.raises(LayerAuthError):
            await client.whoami_async()
        return [item async for item in client.business_tokens([BUSINESS])]

    assert len(trio.run(scene)) == 1
    assert layer.count("token") == 1


def test_anyio_on_both_backends(layer):
    import anyio

    async def scene():
        client = layer.client()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.token_async)
        return await client.whoami_async()

    assert anyio.run(scene, backend="asyncio") == anyio.run(scene, backend="trio")
    assert layer.count("token") == 2


def test_no_loop_at_all_is_told(client):
    with pytest.raises(RuntimeError, match="no running event loop"):
        client.token_async().send(None)


def test_async_batches(layer, client):
    async def scene():
        return [
            item async for item in client.business_tokens([business(n) for n in range(300)])
        ]

    assert [token.business_id for token in asyncio.run(scene())] == [
        business(n) for n in range(300)
    ]
    assert layer.count("auth_token") == 300


def test_async_context_manager_and_errors(layer):
    async def scene():
        async with layer.client(max_attempts=1) as client:
            layer.fault("whoami", status=500)
            with pytest.raises(LayerAuthError) as caught:
                await client.whoami_async()
            return caught.value

    assert asyncio.run(scene()).http_status == 500


def test_many_waiting_tasks_do_not_hold_up_one_another(layer, client):
    """A thousand answers reach the loop together."""
    layer.fault("token", delay_ms=300)

    async def scene():
        started = time.monotonic()
        await asyncio.gather(*(client.token_async() for _ in range(1_000)))
        return time.monotonic() - started

    assert asyncio.run(scene()) < 5


def test_a_busy_interpreter_does_not_stop_the_engine(layer):
    """The engine's own thread never waits for the GIL."""
    client = layer.client()
    stop = threading.Event()

    def spin():
        while not stop.is_set():
            sum(range(1_000))

    threads = [threading.Thread(target=spin) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        results = list(client.business_tokens([business(n) for n in range(50)]))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert all(hasattr(result, "secret") for result in results)


def test_the_interpreter_ends_while_calls_are_in_the_air(layer):
    """Daemon threads and tasks in the middle of a call: no crash, no hang."""
    layer.fault("token", delay_ms=300, times="forever")
    for _ in range(3):
        run_python(
            """
import asyncio, threading, logging
logging.basicConfig(level=1)
from layerfi_auth import Client
for _ in range(5):
    client = Client.from_env(proxy=False)
    threading.Thread(target=client.token, daemon=True).start()
    threading.Thread(target=lambda c=client: asyncio.run(c.token_async()), daemon=True).start()
import time; time.sleep(0.29)
""",
            layer,
        )


def test_refresh_happens_behind_the_callers(layer):
    layer.set_access_token_lifetime(5)
    client = layer.client()
    first = client.token()
    eventually(lambda: client.token() != first, 10)
    assert client.stats().waits == 1


def test_a_thread_that_cannot_be_started_is_an_error_and_heals(layer):
    out = run_python(
        """
import asyncio, _thread
from layerfi_auth import Client, InternalError

client = Client.from_env(proxy=False)

async def scene():
    _thread.stack_size(1 << 46)  # More than there are addresses.
    for _ in range(2):
        try:
            await asyncio.wait_for(client.whoami_async(), 10)
        except InternalError as error:
            print(error)
    _thread.stack_size(0)
    print((await asyncio.wait_for(client.whoami_async(), 10)).client_name)

asyncio.run(scene())
""",
        layer,
    )
    assert out.count("no thread could be started") == 2
    assert "Layer Example" in out


def test_a_courier_that_has_ended_is_replaced(layer):
    layer.fault("whoami", delay_ms=300)
    out = run_python(
        """
import asyncio
from layerfi_auth import Client, _threads

carry = _threads.carry

def ends_at_once(errands):
    _threads.carry = carry

_threads.carry = ends_at_once
client = Client.from_env(proxy=False)
print(asyncio.run(asyncio.wait_for(client.whoami_async(), 10)).client_name)
""",
        layer,
    )
    assert "Layer Example" in out


def test_a_result_that_never_arrives_is_an_error():
    class Lost:
        patience = 0.05

        def cancel(self):
            pass

    async def scene():
        await asyncio.wait_for(arrival(lambda post, settle: Lost()), 10)

    with pytest.raises(InternalError, match="has not arrived"):
        asyncio.run(scene())


def test_a_call_when_the_interpreter_has_begun_to_end(layer):
    out = run_python(
        """
import asyncio, atexit

def late():
    try:
        asyncio.run(client.whoami_async(timeout=3))
    except InternalError as error:
        print(error)
    print(client.whoami().client_name)  # Blocking calls go on to the very end.

atexit.register(late)  # Before the import, and so called after the package's own.
from layerfi_auth import Client, InternalError

client = Client.from_env(proxy=False)
asyncio.run(client.whoami_async())
""",
        layer,
    )
    assert "the interpreter is shutting down" in out
    assert "Layer Example" in out


def test_b17_a_cancelled_wait_loses_no_result_of_a_batch(layer, client):
    ids = [business(n) for n in range(5)]
    client.token()

    async def scene():
        layer.fault("auth_token", hold=True, times=5)
        batch = client.business_tokens(ids)
        waiting = asyncio.ensure_future(anext(batch))
        await asyncio.sleep(0.05)
        layer.release()
        time.sleep(0.3)  # The result comes while the loop is busy.
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return [token.business_id async for token in batch]

    assert asyncio.run(scene()) == ids


def test_b17_an_interrupted_wait_loses_no_result_of_a_batch(layer, client):
    ids = [business(n) for n in range(3)]
    client.token()
    layer.fault("auth_token", hold=True, times=3)
    batch = client.business_tokens(ids)
    assert layer.wait_for("auth_token", 3)

    class InterruptedAtLastError(Exception):
        pass

    def interrupt(*_):
        layer.release()
        time.sleep(0.3)  # The result comes while this handler runs.
        raise InterruptedAtLastError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(InterruptedAtLastError):
            next(batch)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [token.business_id for token in batch] == ids


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc here")
def test_no_signal_of_the_programs_is_handled_in_a_thread_of_ours(layer):
    out = run_python(
        """
import asyncio, os, signal
from pathlib import Path
from layerfi_auth import Client

asyncio.run(Client.from_env(proxy=False).whoami_async())
for task in Path("/proc/self/task").iterdir():
    if task.name != str(os.getpid()):
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        blocked = int(status["SigBlk"], 16)
        print(*(bool(blocked >> one - 1 & 1) for one in (signal.SIGTERM, signal.SIGCHLD)))
""",
        layer,
    )
    assert len(out.splitlines()) >= 2
    assert "False" not in out
