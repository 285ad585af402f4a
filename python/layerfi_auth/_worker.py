"""Functions that run on the native module's Python threads and call the user's functions.

No frame of the native module is on the stack while such a function runs: it may still run when
the interpreter shuts down, and Python then unwinds its stack.

These threads import nothing themselves. On Python 3.12 and earlier, the thread that first
imports `threading` counts as the main thread, and the interpreter waits for it at exit. A
credentials provider may import `threading` on such a thread, so it is imported here, on the
main thread.
"""

from __future__ import annotations

# `signal` imports `enum`, which takes a third of this package's import time.
import _signal  # type: ignore[import-not-found]
import _thread
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from layerfi_auth._native import Jobs, ProviderAnswer

# Signals that a fault of the thread itself raises; they stay unblocked.
_FAULTS = {_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL}

_MAIN_THREAD_TIMEOUT = 0.2
_kept: list[object] = []


def _import_threading() -> None:
    """Import `threading` on the main thread.

    The current thread may be another one that the program started with `_thread` or from C.
    The main thread then imports `threading` as soon as it runs Python code again.
    """
    import os
    from _thread import get_native_id

    if get_native_id() == os.getpid():
        import threading  # noqa: F401

        return
    try:
        import ctypes
    except ImportError:
        return
    import time

    def on_main_thread(_: object) -> int:
        import threading  # noqa: F401

        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(on_main_thread)
    # The interpreter keeps a pointer to the callback, so it must never be freed.
    _kept.append(callback)
    ctypes.pythonapi.Py_AddPendingCall(callback, None)
    until = time.monotonic() + _MAIN_THREAD_TIMEOUT
    # The main thread may be blocked in C, for example while it waits for this one.
    while "threading" not in sys.modules and time.monotonic() < until:
        time.sleep(0.001)


if sys.version_info < (3, 13) and "threading" not in sys.modules:
    _import_threading()


def unpatched(start_new_thread: object) -> object:
    """Return `_thread.start_new_thread` as it was before gevent or eventlet patched it."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("_thread"):
        return monkey.get_original("_thread", "start_new_thread")
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return patcher.original("_thread").start_new_thread
    return start_new_thread


def run_worker(jobs: Jobs) -> None:
    """Call functions as they come: log handlers, and callbacks of event loops."""
    # Signals are handled in the program's own threads.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - _FAULTS)
    for function, args in jobs:
        try:  # noqa: SIM105  # `contextlib` costs more to import than it saves.
            function(*args)
        except BaseException:  # noqa: BLE001, S110
            # A log handler has reported its error; nothing waits on a closed event loop.
            pass
        # The arguments hold a token, and the next job may come much later.
        del function, args


def ask_provider(callable_: Callable[[], tuple[str, str]], answer: ProviderAnswer) -> None:
    """Call a credentials provider."""
    answer.begin(_thread.get_ident())
    try:
        # Not in a variable: the value contains the secret.
        answer.take(callable_())
    except BaseException as error:  # noqa: BLE001
        answer.fail(error)
    finally:
        # The answer keeps the exception, whose traceback keeps this frame.
        del callable_, answer


def blocking_import(thread: int, waiting: list[int]) -> str | None:
    """Return the module that ``thread`` waits to import while a thread of ``waiting`` does.

    The import system finds only threads that wait for each other's imports, and not a thread
    that waits for a result of this package in the middle of an import.
    """
    # Not documented. Where it is different, such a call times out.
    blocking_on: Any = sys.modules["_frozen_importlib"]._blocking_on  # noqa: SLF001
    for _ in range(100):
        locks = blocking_on.get(thread)
        if not locks:
            return None
        # A list since Python 3.12; a thread waits for the last one.
        lock = locks[-1] if isinstance(locks, list) else locks
        thread = lock.owner
        if thread in waiting:
            return str(lock.name)
    return None


def print_warning(message: str) -> None:
    """Print a log message as `logging` does in a program that has not configured it."""
    if sys.stderr is not None:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
