"""Runs one operation many times: `operations.py NAME CALLS`. See benches/operations.rs."""

from __future__ import annotations

import asyncio
import sys
from itertools import repeat

import layerfi_auth

# A client allows five renewals at once.
RENEWALS = 5
BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


def floor_call(calls: int) -> None:
    """Call a native method without arguments that returns an existing object."""
    call = layerfi_auth.Client.from_env().token().__copy__
    for _ in repeat(None, calls):
        call()


def hit(calls: int) -> None:
    client = layerfi_auth.Client.from_env()
    client.token()
    call = client.authorization
    for _ in repeat(None, calls):
        call()


def hit_token(calls: int) -> None:
    client = layerfi_auth.Client.from_env()
    client.token()
    call = client.token
    for _ in repeat(None, calls):
        call()


def hit_business(calls: int) -> None:
    client = layerfi_auth.Client.from_env()
    client.business_token(BUSINESS)
    call = client.business_token
    for _ in repeat(None, calls):
        call(BUSINESS)


def floor_await(calls: int) -> None:
    """Await a coroutine that returns at once."""

    async def empty() -> None:
        return None

    async def run() -> None:
        await layerfi_auth.Client.from_env().token_async()
        for _ in repeat(None, calls):
            await empty()

    asyncio.run(run())


def hit_awaited(calls: int) -> None:
    async def run() -> None:
        client = layerfi_auth.Client.from_env()
        await client.token_async()
        call = client.token_async
        for _ in repeat(None, calls):
            await call()

    asyncio.run(run())


def token(calls: int) -> None:
    """Get a new client's token, then renew it on its connection: CALLS renewals in all."""
    for _ in range(0, calls, RENEWALS):
        client = layerfi_auth.Client.from_env()
        current = client.token()
        for _ in range(RENEWALS):
            current = client.renew_token(current)


def token_first_only(calls: int) -> None:
    """As token, without the renewals."""
    for _ in range(0, calls, RENEWALS):
        layerfi_auth.Client.from_env().token()


def mint(calls: int) -> None:
    client = layerfi_auth.Client.from_env()
    for _ in range(calls + 1):
        client.mint_business_token(BUSINESS)


def first(_calls: int) -> None:
    layerfi_auth.Client.from_env().token()


def nothing(_calls: int) -> None:
    """Do nothing: what all programs cost before their first call."""


OPERATIONS = {
    "nothing": nothing,
    "floor-call": floor_call,
    "hit": hit,
    "hit-token": hit_token,
    "hit-business": hit_business,
    "floor-await": floor_await,
    "hit-awaited": hit_awaited,
    "token": token,
    "token-first-only": token_first_only,
    "mint": mint,
    "first": first,
}

OPERATIONS[sys.argv[1]](int(sys.argv[2]))
