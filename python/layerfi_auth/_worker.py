"""Functions that run on the native module's Python threads and call the user's functions.

No frame of the native module is on the stack while such a function runs: it may still run when
the interpreter shuts down, and Python then unwinds its stack.
"""

from __future__ import annotations

# `signal` imports `enum`, which takes a third of this package's import time.
import _signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from layerfi_auth._native import Jobs, ProviderAnswer

# Signals that a fault of the thread itself raises; they stay unblocked.
_FAULTS = {_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL}


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
    try:
        # Not in a variable: the value contains the secret.
        answer.take(callable_())
    except BaseException as error:  # noqa: BLE001
        answer.fail(error)
