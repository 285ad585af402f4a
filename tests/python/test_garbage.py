"""B27: a client that is part of a cycle of objects is collected, with all that it holds.

Such cycles are common: a provider is a method of the object that has the client, or a closure.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from pathlib import Path

import pytest

from conftest import BUSINESS, eventually
from layerfi_auth import Client, CredentialsError
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET, Emulator


class Owner:
    """An object that has a client and everything else."""

    def credentials(self):
        return CLIENT_ID, CLIENT_SECRET


def method(layer):
    owner = Owner()
    owner.client = layer.client(credentials=owner.credentials, client_id=None)
    assert owner.client.token()
    return owner


def closure(layer):
    owner = Owner()
    owner.client = layer.client(credentials=lambda: owner.credentials(), client_id=None)
    assert asyncio.run(owner.client.token_async())
    return owner


def never_used(layer):
    owner = Owner()
    owner.client = layer.client(credentials=owner.credentials, client_id=None)
    return owner


def raises(layer):
    """The client keeps the exception, whose traceback has the provider's variables."""
    owner = Owner()

    def credentials():
        mine = owner
        raise KeyError(str(mine is None))

    owner.client = layer.client(credentials=credentials, client_id=None, max_attempts=1)
    with pytest.raises(CredentialsError):
        owner.client.token()
    return owner


def batch(layer):
    owner = method(layer)
    owner.batch = owner.client.business_tokens([BUSINESS])
    return owner


def finished_batch_without_its_client(layer):
    owner = Owner()
    client = layer.client(credentials=owner.credentials, client_id=None)
    owner.batch = client.business_tokens([BUSINESS])
    del client
    assert next(owner.batch).secret
    return owner


def tokens(layer):
    owner = method(layer)
    owner.tokens = [owner.client.token(), owner.client.business_token(BUSINESS)]
    return owner


def emulator(layer):
    owner = method(layer)
    owner.layer = Emulator()
    owner.layer.owner = owner
    owner.other_client = owner.layer.client()
    owner.other_client.token()
    return owner


def http_helpers(layer):
    owner = method(layer)
    httpx = pytest.importorskip("httpx")
    requests = pytest.importorskip("requests")
    from layerfi_auth.auth import HttpxAuth, RequestsAuth, aiohttp_middleware

    owner.httpx = httpx.Client(auth=HttpxAuth(owner.client))
    owner.requests = requests.Session()
    owner.requests.auth = RequestsAuth(owner.client)
    owner.middleware = aiohttp_middleware(owner.client)
    owner.requests.get(f"{owner.client.api_url}/whoami")
    owner.httpx.get(f"{owner.client.api_url}/whoami")
    owner.requests.close()
    owner.httpx.close()
    return owner


def cancelled_call(layer):
    owner = method(layer)
    layer.fault("whoami", hold=True)

    async def cancelled():
        task = asyncio.ensure_future(owner.client.whoami_async())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    layer.release()
    return owner


MAKERS = [
    method, closure, never_used, raises, batch, finished_batch_without_its_client, tokens,
    emulator, http_helpers, cancelled_call,
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_b27_cycle_through_a_client_is_collected(layer, make):
    gone = weakref.ref(make(layer))

    def collected():
        gc.collect()
        return gone() is None

    eventually(collected)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="requires /proc")
def test_b27_hundreds_of_cycles_do_not_grow_the_memory(layer):
    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cycles(number):
        for _ in range(number):
            method(layer)
        gc.collect()

    def alive():
        gc.collect()
        return sum(isinstance(one, Client) for one in gc.get_objects())

    # The process keeps memory that was freed, so the second round is measured.
    cycles(300)
    eventually(lambda: alive() == 0)
    before = resident()
    cycles(300)
    eventually(lambda: alive() == 0)
    grown = (resident() - before) / 1024 / 1024
    # When they were not collected it was more than 50 MiB.
    assert grown < 20, f"300 clients that were deleted still use {grown:.1f} MiB"


def test_b27_collecting_takes_nothing_from_a_client_in_use(layer):
    """The provider is used by a native thread, which the collector does not see."""
    asked = []
    entered, go_on = threading.Event(), threading.Event()

    def credentials():
        asked.append(None)
        if len(asked) == 1:
            entered.set()
            go_on.wait(60)
        return CLIENT_ID, CLIENT_SECRET

    client = layer.client(credentials=credentials, client_id=None)
    del credentials
    caller = threading.Thread(target=client.token)
    caller.start()
    assert entered.wait(60)
    gc.collect()
    go_on.set()
    caller.join()
    for _ in range(3):
        gc.collect()
        assert client.invalidate(client.token())
    assert client.token()
    # A batch needs the provider after its client was deleted.
    batch = client.business_tokens([BUSINESS] * 3)
    layer.revoke_all("access")
    del client
    gc.collect()
    assert [result.business_id for result in batch] == [BUSINESS] * 3
    assert len(asked) >= 4


def test_b27_provider_that_runs_while_its_client_is_collected_ends(layer):
    entered, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def started():
        owner = Owner()

        def credentials():
            entered.set()
            go_on.wait(60)
            ended.set()
            return owner.credentials()

        owner.client = layer.client(credentials=credentials, client_id=None)
        assert owner.client.try_token() is None
        return weakref.ref(owner)

    gone = started()
    assert entered.wait(60)
    gc.collect()
    go_on.set()
    assert ended.wait(60)

    def collected():
        gc.collect()
        return gone() is None

    eventually(collected)


def test_client_keeps_its_emulator_running():
    """An emulator whose only reference is its client."""
    client = Emulator().client()
    gc.collect()
    assert client.whoami().client_name
    batch = Emulator().client().business_tokens([BUSINESS])
    gc.collect()
    assert next(batch).business_id == BUSINESS
    for _ in range(2):
        client = Emulator(tls=True).client()
        assert client.token()


def test_emulator_is_stopped_when_it_and_its_clients_are_deleted():
    layer = Emulator()
    elsewhere = Client(
        environment="custom", client_id=CLIENT_ID, client_secret=CLIENT_SECRET,
        api_url=layer.url, auth_url=layer.token_url, scope=layer.scope, proxy=False,
        allow_http_loopback=True, max_attempts=1, connect_timeout=1,
    )  # fmt: skip
    client = layer.client()
    del layer
    gc.collect()
    assert elsewhere.whoami()
    del client
    gc.collect()
    with pytest.raises(ConnectionError):
        elsewhere.whoami()
