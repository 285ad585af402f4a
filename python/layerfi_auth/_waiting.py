"""How a task waits for a call of the engine's: one body for asyncio (and uvloop) and trio."""

from __future__ import annotations

import sys

from layerfi_auth.exceptions import InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, Concatenate

    from layerfi_auth._native import PendingCall
    from layerfi_auth._typing import P, Post, Settle, T


def _settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    # The task may have been cancelled while its result was on the way.
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def _never_arrived() -> InternalError:
    message = "the call's result has not arrived"
    remedy = "its thread has ended: look at the process's memory, and report this"
    return InternalError(f"{message}: {remedy}", message=message, remedy=remedy)


async def arrival(
    start: Callable[Concatenate[Post, Settle[T], P], PendingCall],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Start a call and wait for its result. Cancelling ends this wait only.

    ``start`` is given two functions before its other arguments: one that calls a function on
    this loop's own thread, and one that takes the value and the error there.
    """
    # Asked first: trio can run as a guest of asyncio's loop.
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return await _arrival_in_trio(start, *args, **kwargs)
    # Not imported with the package: it costs more than all the rest together. Where a loop
    # runs, it is there already.
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        _settle(future, value, error)

    pending = start(loop.call_soon_threadsafe, settle, *args, **kwargs)
    # The engine ends each call in time. This is for a result that is lost on its way. (Not in
    # trio, whose mock clock would jump to it.)
    net = loop.call_later(pending.patience, lambda: settle(None, _never_arrived()))
    try:
        return await future
    finally:
        net.cancel()
        pending.cancel()


async def _arrival_in_trio(
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
