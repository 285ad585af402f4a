"""Waits for a call of the engine's in a task of asyncio (or uvloop) or trio."""

from __future__ import annotations

import sys

from layerfi_auth.exceptions import RequestTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, Concatenate

    from layerfi_auth._native import PendingCall
    from layerfi_auth._types import P, Post, Settle, T


def _settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    # The task may have been cancelled before its result arrived.
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def result_missing() -> RequestTimeoutError:
    """Return the error for a call whose result was lost."""
    message = "the call's result has not arrived"
    remedy = "its thread has ended: check the process's limits on memory and threads, or retry"
    text = f"{message}: {remedy}"
    return RequestTimeoutError(text, message=message, remedy=remedy, retryable=True)


async def await_call(
    start: Callable[Concatenate[Post, Settle[T], P], PendingCall],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Start a call and wait for its result. Cancellation ends only this wait.

    ``start`` gets two functions before its other arguments: the first calls a function on this
    event loop's thread, the second takes the value and the error there.
    """
    # Checked first: trio can run as a guest of an asyncio loop.
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return await _await_call_in_trio(start, *args, **kwargs)
    # A running loop has imported it. With this package it would be most of the import time.
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        _settle(future, value, error)

    pending = start(loop.call_soon_threadsafe, settle, *args, **kwargs)
    # The engine ends each call in time; this timer is for a result that gets lost. Not in trio,
    # whose mock clock would jump to it.
    timer = loop.call_later(pending.max_wait, lambda: settle(None, result_missing()))
    try:
        return await future
    finally:
        timer.cancel()
        pending.cancel()


async def _await_call_in_trio(
    start: Callable[Concatenate[Post, Settle[T], P], PendingCall],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    import trio

    token = trio.lowlevel.current_trio_token()
    arrived = trio.Event()
    outcome: list[tuple[T, BaseException | None]] = []

    def settle(value: T, error: BaseException | None) -> None:
        outcome.append((value, error))
        arrived.set()

    pending = start(token.run_sync_soon, settle, *args, **kwargs)
    try:
        await arrived.wait()
    finally:
        pending.cancel()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
