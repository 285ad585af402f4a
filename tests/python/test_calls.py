"""Waiting calls: the GIL, Ctrl-C, cancelled tasks, and all kinds of event loops."""

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
from uuid import UUID

import pytest

from conftest import BUSINESS, TIMEOUT, business, eventually, run_python
from layerfi_auth import LayerAuthError, OAuthError, RequestTimeoutError
from layerfi_auth._await_call import await_call


def test_gil_is_released_while_a_call_waits(layer, client):
    """Other threads run while one waits for a call."""
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
        # This thread needs the GIL to see the request and release it.
        assert layer.wait_for(endpoint, before + 1)
        assert thread.is_alive()
        layer.release()
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_b02_64_threads_with_an_empty_cache_make_one_request(layer, client):
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


def test_b02_first_call_after_prepare_finds_a_token(layer, client):
    assert client.prepare() is None
    eventually(lambda: client.stats().expires_at is not None)
    assert client.try_token() is not None

    async def prepare_in_a_loop():
        client.prepare()
        return await client.token_async()

    assert asyncio.run(prepare_in_a_loop()) is client.token()
    stats = client.stats()
    assert (stats.misses, stats.waits) == (1, 0)
    assert layer.count("token") == 1


def test_b02_prepare_and_calls_at_the_same_time_make_one_request(layer, client):
    layer.fault("token", hold=True)
    start = threading.Barrier(8)

    def caller():
        start.wait(TIMEOUT)
        for _ in range(125):
            client.prepare()  # It does not wait for the response, which is held.
        return client.token()

    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(caller) for _ in range(8)]
        eventually(lambda: client.stats().waits == 8)
        assert layer.wait_for("token", 1)
        layer.release()
        tokens = [call.result(TIMEOUT) for call in calls]
    assert len(set(tokens)) == 1
    assert layer.count("token") == 1


def test_b06_failed_prepare_is_logged_and_raised_by_the_next_call(layer, caplog):
    client = layer.client(client_secret="not the secret")
    with caplog.at_level("WARNING", "layerfi_auth"):
        client.prepare()
        eventually(lambda: caplog.records)
        eventually(lambda: client.stats().failures)
    with pytest.raises(OAuthError, match="invalid_client"):
        client.token()
    (record,) = caplog.records
    assert (record.levelname, record.kind, record.http_status) == ("WARNING", "oauth", 400)
    assert "prepare got no access token" in record.getMessage()
    assert "invalid_client (HTTP 400)" in record.getMessage()


def test_b03_waiting_tasks_get_separate_errors_of_one_request(layer):
    client = layer.client()
    layer.fault("token", status=400, body={"error": "invalid_client"}, delay_ms=100)

    async def tasks():
        calls = [client.token_async() for _ in range(20)]
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = asyncio.run(tasks())
    assert {type(error) for error in errors} == {OAuthError}
    # Exceptions carry a traceback, so tasks must not share one.
    assert len(set(map(id, errors))) == 20
    assert layer.count("token") == 1


CTRL_C = """
import signal, sys, threading, time
from layerfi_auth import Client
# A shell starts background processes with this signal ignored.
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
def test_ctrl_c_ends_a_waiting_call(layer, call):
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
        assert process.wait(TIMEOUT) == 0
        # Without the signal the call would wait for its timeout of 30 s.
        took = time.monotonic() - started
        assert took < 20, f"the call ended {took:.1f} s after Ctrl-C"
    finally:
        process.kill()
        process.communicate()


def test_signal_handler_runs_while_a_call_waits(layer, client):
    layer.fault("token", hold=True)
    seen = []

    def release(*_):
        seen.append(layer.wait_for("token", 1))
        layer.release()

    before = signal.signal(signal.SIGUSR1, release)
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert client.token()
        assert seen == [True]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_b07_cancelled_task_does_not_cancel_the_shared_request(layer, client):
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


def test_b08_asyncio_timeout_does_not_cancel_the_shared_request(layer, client):
    layer.fault("token", hold=True)

    async def scene():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.token_async(), 0.2)
        assert layer.wait_for("token", 1)
        with pytest.raises(TimeoutError):
            await client.token_async(timeout=0.2)
        layer.release()
        return await client.token_async()

    assert asyncio.run(scene())
    assert layer.count("token") == 1


def test_b08_blocking_timeout_does_not_cancel_the_shared_request(layer, client):
    layer.fault("token", hold=True)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        client.token(timeout=0.2)
    took = time.monotonic() - started
    assert 0.1 < took < 20, f"a call with a timeout of 0.2 s took {took:.1f} s"
    assert layer.wait_for("token", 1)
    layer.release()
    assert client.token()
    assert layer.count("token") == 1


def test_b01_awaited_cache_hit_does_not_use_the_loop(client):
    client.token()
    for call in (client.token_async, client.authorization_async):
        coroutine = call()
        with pytest.raises(StopIteration):
            coroutine.send(None)  # It returns at once, without a loop.
    client.business_token(BUSINESS)
    with pytest.raises(StopIteration):
        client.business_token_async(BUSINESS).send(None)


def test_b01_b24_every_form_of_a_hit_is_served_and_counted_once(layer, client):
    token = client.token()
    calls = [
        client.token,
        client.authorization,
        lambda: client.token(timeout=5),
        lambda: client.token(timeout=None),
        lambda: client.authorization(timeout=5),
        lambda: asyncio.run(client.token_async()),
        lambda: asyncio.run(client.token_async(timeout=5)),
        lambda: asyncio.run(client.authorization_async()),
        lambda: asyncio.run(client.authorization_async(timeout=5)),
    ]
    for _ in range(2):
        for number, call in enumerate(calls):
            before = client.stats().hits
            assert call() in (token, token.authorization), f"call {number}"
            assert client.stats().hits == before + 1, f"call {number} counts other than 1"
    # The first hits of a new token, whose object is made then.
    client.invalidate(token)
    new = client.token()
    assert new != token
    before = client.stats().hits
    assert client.authorization() == new.authorization
    assert client.token() is new
    assert client.stats().hits == before + 2
    assert layer.count("token") == 2


def test_b01_methods_of_hits_look_and_fail_like_the_others(client):
    client.token()
    for name in ("token", "authorization"):
        method, other = getattr(type(client), name), type(client).whoami
        assert type(method) is type(other)
        assert inspect.signature(method) == inspect.signature(other)
        assert method.__doc__.startswith("Return "), "the documentation begins differently"
        assert (method.__name__, method.__qualname__) == (name, f"Client.{name}")
        call = getattr(client, name)
        for wrong, error in [
            (lambda call=call: call(3), "takes 0 positional arguments but 1 was given"),
            (lambda call=call: call(time=3), "unexpected keyword argument 'time'"),
            (lambda call=call: call(timeout="3"), "timeout must be a number of seconds"),
            (lambda method=method: method(), "needs an argument"),
            (lambda method=method: method(3), "doesn't apply to a 'int' object"),
        ]:
            with pytest.raises(TypeError, match=error):
                wrong()
        with pytest.raises(LayerAuthError, match="timeout must be more than 0"):
            call(timeout=0)


def test_b01_business_token_is_a_hit_with_any_valid_arguments(layer, client):
    call = client.business_token
    first = call(BUSINESS)
    mints = layer.count("auth_token")
    for arguments in (
        {},
        {"session_duration": 3600},
        {"session_duration": None, "min_remaining": None, "timeout": None},
        {"min_remaining": 5, "timeout": 3.5},
    ):
        for name in (BUSINESS, BUSINESS.upper(), UUID(BUSINESS)):
            before = client.stats().hits
            assert call(name, **arguments) == first
            assert asyncio.run(client.business_token_async(name, **arguments)) == first
            assert client.stats().hits == before + 2, (name, arguments)
    assert call(business_id=BUSINESS) == first
    assert layer.count("auth_token") == mints
    for wrong, error in [
        (lambda: call(), "missing 1 required positional argument"),
        (lambda: call(BUSINESS, 900), "takes 1 positional argument"),
        (lambda: call(BUSINESS, time=3), "unexpected keyword argument 'time'"),
        (lambda: call(BUSINESS, timeout="3"), "timeout must be a number of seconds"),
        (lambda: call(BUSINESS, session_duration="3"), "session_duration must be an int"),
        (lambda: call(3), "business_id must be a str or a uuid.UUID"),
    ]:
        with pytest.raises(TypeError, match=error):
            wrong()
    for wrong, error in [
        (lambda: call("biz"), "is not a UUID"),
        (lambda: call("\ud800"), "is not a UUID"),
        (lambda: call(BUSINESS, session_duration=0), "session_duration must be 1 to 86400"),
        (lambda: call(BUSINESS, timeout=0), "timeout must be more than 0"),
        (lambda: call(BUSINESS, min_remaining=-1), "min_remaining must be 0 or more"),
    ]:
        with pytest.raises(LayerAuthError, match=error):
            wrong()


def test_async_methods_are_coroutine_functions(client):
    for name in dir(client):
        if name.endswith("_async"):
            assert inspect.iscoroutinefunction(getattr(client, name)), name


def test_b12_client_works_after_its_first_loop_is_closed(layer, client):
    first = asyncio.run(client.token_async())
    assert asyncio.run(client.token_async()) is first
    client.invalidate(first)
    assert asyncio.run(client.token_async()) != first
    assert asyncio.run(client.whoami_async()) == client.whoami()


def test_loop_closed_during_a_call(layer, client):
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
        assert layer.wait_for("whoami", 2)
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


def test_async_call_without_a_loop_raises_runtime_error(client):
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


def test_thousand_waiting_tasks_cost_little_more_than_their_futures(layer, client):
    """A thousand results reach the loop together."""
    layer.fault("token", delay_ms=300)

    async def bare_futures():
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(1_000)]

        def settle():
            for future in futures:
                loop.call_soon_threadsafe(future.set_result, None)

        started = time.monotonic()
        threading.Timer(0.3, settle).start()
        await asyncio.gather(*futures)
        return time.monotonic() - started

    async def calls():
        started = time.monotonic()
        tokens = await asyncio.gather(*(client.token_async() for _ in range(1_000)))
        assert len(set(map(id, tokens))) == 1
        return time.monotonic() - started

    control, took = asyncio.run(bare_futures()), asyncio.run(calls())
    assert took < 20 * control, f"took {took:.1f} s; bare futures took {control:.1f} s"
    assert layer.count("token") == 1


def test_busy_interpreter_does_not_block_the_engine(layer):
    """The engine's thread never waits for the GIL."""
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


def test_b27_interpreter_ends_during_calls(layer):
    """Daemon threads and tasks that wait for a call: no crash and no hang."""
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


def test_b04_refresh_runs_in_the_background(layer):
    layer.set_access_token_lifetime(8)
    client = layer.client()
    first = client.token()
    eventually(lambda: client.token() != first)
    assert client.stats().waits == 1


def test_b26_failed_thread_start_raises_an_error_and_later_calls_work(layer):
    out = run_python(
        """
import asyncio, _thread
from layerfi_auth import Client, TransportError

client = Client.from_env(proxy=False)

async def scene():
    _thread.stack_size(1 << 46)  # More than the address space.
    for _ in range(2):
        try:
            await asyncio.wait_for(client.whoami_async(), 10)
        except TransportError as error:
            assert error.retryable
            print(error)
    _thread.stack_size(0)
    print((await asyncio.wait_for(client.whoami_async(), 10)).client_name)

asyncio.run(scene())
""",
        layer,
    )
    assert out.count("no thread could be started") == 2
    assert "Layer Example" in out


def test_ended_worker_thread_is_replaced(layer):
    layer.fault("whoami", delay_ms=300)
    out = run_python(
        """
import asyncio
from layerfi_auth import Client, _worker

run_worker = _worker.run_worker

def ends_at_once(jobs):
    _worker.run_worker = run_worker

_worker.run_worker = ends_at_once
client = Client.from_env(proxy=False)
print(asyncio.run(asyncio.wait_for(client.whoami_async(), 10)).client_name)
""",
        layer,
    )
    assert "Layer Example" in out


def test_lost_result_raises_an_error():
    class Lost:
        max_wait = 0.05

        def cancel(self):
            pass

    async def scene():
        await asyncio.wait_for(await_call(lambda post, settle: Lost()), 10)

    with pytest.raises(RequestTimeoutError, match="has not arrived"):
        asyncio.run(scene())


def test_b27_calls_during_interpreter_shutdown(layer):
    out = run_python(
        """
import asyncio, atexit

def late():
    try:
        asyncio.run(client.whoami_async(timeout=3))
    except InternalError as error:
        print(error)
    print(client.whoami().client_name)  # Blocking calls still work.

atexit.register(late)  # Before the import, and so called after the package's handler.
from layerfi_auth import Client, InternalError

client = Client.from_env(proxy=False)
asyncio.run(client.whoami_async())
""",
        layer,
    )
    assert "the interpreter is shutting down" in out
    assert "Layer Example" in out


def test_b17_cancelled_wait_loses_no_batch_result(layer, client):
    ids = [business(n) for n in range(5)]
    client.token()

    async def scene():
        layer.fault("auth_token", hold=True, times=5)
        batch = client.business_tokens(ids)
        waiting = asyncio.ensure_future(anext(batch))
        assert await asyncio.to_thread(layer.wait_for, "auth_token", 5)
        layer.release()
        time.sleep(0.3)  # The result arrives while the loop is busy.
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return [token.business_id async for token in batch]

    assert asyncio.run(scene()) == ids


def test_b17_interrupted_wait_loses_no_batch_result(layer, client):
    ids = [business(n) for n in range(3)]
    client.token()
    layer.fault("auth_token", hold=True, times=3)
    batch = client.business_tokens(ids)
    assert layer.wait_for("auth_token", 3)

    class InterruptedWaitError(Exception):
        pass

    def interrupt(*_):
        layer.release()
        time.sleep(0.3)  # The result arrives while this handler runs.
        raise InterruptedWaitError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(InterruptedWaitError):  # noqa: PT012
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            next(batch)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [token.business_id for token in batch] == ids


def test_b17_length_of_a_batch_is_the_number_of_inputs(client):
    batch = client.business_tokens([BUSINESS, BUSINESS, "not an id"])
    assert len(batch) == 3
    next(batch)
    assert len(batch) == 3, "reading a result changed the length"
    assert len(list(batch)) == 2
    assert len(client.business_tokens([])) == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="requires /proc")
def test_b28_background_threads_block_the_programs_signals(layer):
    out = run_python(
        """
import asyncio, os, signal, time
from pathlib import Path
from uuid import UUID
from layerfi_auth import Client

def blocked(task):
    try:
        lines = (task / "status").read_text().splitlines()
    except OSError:  # The thread has ended.
        return True
    mask = int(dict(line.split(":", 1) for line in lines)["SigBlk"], 16)
    return all(mask >> one - 1 & 1 for one in (signal.SIGTERM, signal.SIGCHLD))

asyncio.run(Client.from_env(proxy=False).whoami_async())
until = time.monotonic() + 30
while True:
    tasks = [one for one in Path("/proc/self/task").iterdir() if one.name != str(os.getpid())]
    unblocked = [(one / "comm").read_text().strip() for one in tasks if not blocked(one)]
    # A thread that has just started blocks signals as its first step.
    if not unblocked or time.monotonic() > until:
        break
    time.sleep(0.01)
print(len(tasks), unblocked)
""",
        layer,
    )
    number, unblocked = out.split(maxsplit=1)
    assert int(number) >= 2, f"only {number} background threads were checked"
    assert unblocked.strip() == "[]", f"these threads do not block signals: {unblocked}"


def test_b11_refused_token_is_renewed_once(layer, client):
    refused = client.token()
    fresh = client.renew_token(refused)
    assert fresh != refused
    assert client.renew_token(refused) == fresh
    assert asyncio.run(client.renew_token_async(refused, timeout=TIMEOUT)) == fresh
    assert layer.count("token") == 2
    for _ in range(10):
        fresh = client.renew_token(fresh)
    assert layer.count("token") == 6, "new tokens are limited to five in a row"
    with pytest.raises(TypeError, match="refused must be an AccessToken"):
        client.renew_token("token")
