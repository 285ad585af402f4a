"""Waits for a call of the engine's in a greenlet of gevent or eventlet.

The wait switches to the hub, which runs the thread's other greenlets. This module is only
imported where the program has imported `gevent.monkey` or `eventlet.patcher`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module  # gevent and eventlet have no types.

from layerfi_auth._await_call import result_missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from layerfi_auth._native import PendingCall


def current_waiter() -> GeventWaiter | EventletWaiter | None:
    """Return a waiter for the current greenlet, or ``None`` if the call has to block.

    A thread without a hub has no other greenlets, and the hub itself must not wait.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and any(map(monkey.is_module_patched, ("socket", "_thread"))):
        return _gevent_waiter()
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None and any(map(patcher.is_monkey_patched, ("socket", "thread"))):
        return _eventlet_waiter()
    return None


def _gevent_waiter() -> GeventWaiter | None:
    hub = import_module("gevent._hub_local").get_hub_if_exists()
    if hub is None or hub.loop is None or import_module("gevent").getcurrent() is hub:
        return None
    return GeventWaiter(hub)


def _eventlet_waiter() -> EventletWaiter | None:
    hub = getattr(import_module("eventlet.hubs")._threadlocal, "hub", None)  # noqa: SLF001
    if hub is None or hub.greenlet is import_module("eventlet").getcurrent():
        return None
    try:
        return EventletWaiter()
    except OSError:
        # No file descriptor is left. The call still works, but blocks the thread.
        return None


class GeventWaiter:
    """Waits in a greenlet of gevent."""

    __slots__ = ("_hub", "_waiter", "post")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._waiter = import_module("gevent.hub").Waiter(hub)
        self.post: Callable[..., object] = hub.loop.run_callback_threadsafe

    def settle(self, value: object, error: BaseException | None) -> None:
        """Take the result, in the hub. It is dropped if the wait has ended."""
        self._waiter.switch((value, error))

    def wait(self, pending: PendingCall) -> object:
        """Wait for the result. An exception that is raised in this greenlet ends the wait."""
        # The engine ends each call in time. The timer is for a result that gets lost, and
        # without it a hub that waits for nothing else would end.
        timer = self._hub.loop.timer(pending.max_wait)
        try:
            timer.start(self.settle, None, result_missing())
            value, error = self._waiter.get()
        finally:
            timer.stop()
            timer.close()
            pending.cancel()
        if error is not None:
            raise error
        return value


class EventletWaiter:
    """Waits in a greenlet of eventlet, whose hub is woken by a file descriptor."""

    __slots__ = ("_close", "_outcome", "_readable")

    def __init__(self) -> None:
        self._readable = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Kept here, because `os` may be gone when this object is deleted.
        self._close = os.close
        self._outcome: tuple[object, BaseException | None] | None = None

    def __del__(self) -> None:
        # Not at the end of the wait: a late result is still written to the descriptor, whose
        # number could by then belong to another file.
        if hasattr(self, "_close"):
            self._close(self._readable)

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Call a function and wake the hub, from another thread."""
        function(*args)
        os.eventfd_write(self._readable, 1)

    def settle(self, value: object, error: BaseException | None) -> None:
        """Take the result. It is dropped if the wait has ended."""
        self._outcome = (value, error)

    def wait(self, pending: PendingCall) -> object:
        """Wait for the result. An exception that is raised in this greenlet ends the wait."""
        try:
            while self._outcome is None:
                import_module("eventlet.hubs").trampoline(
                    self._readable,
                    read=True,
                    timeout=pending.max_wait,
                    timeout_exc=result_missing(),
                )
        finally:
            pending.cancel()
        value, error = self._outcome
        if error is not None:
            raise error
        return value
