"""The threads in which the engine has the program's own functions called.

They are Python's, and nothing of the native module is on their stacks while such a function
runs: it may run on when the interpreter ends, and Python then unwinds its stack.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from layerfi_auth._native import Errands, ProviderAnswer


def carry(errands: Errands) -> None:
    """Make calls as they come: handlers of the log, and answers to event loops."""
    # The program's signals are for its own threads, as in the engine's. But for these, which
    # are faults of the thread that they meet.
    import signal  # It would be a third of what importing the package takes.

    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - faults)
    for function, args in errands:
        try:  # noqa: SIM105  # An import that costs more than it saves.
            function(*args)
        except BaseException:  # noqa: BLE001, S110
            # A handler has told so itself; a closed loop has nobody who waits.
            pass
        # An answer holds a token, and the next one may be long in coming.
        del function, args


def provide(callable_: Callable[[], tuple[str, str]], answer: ProviderAnswer) -> None:
    """Ask a credentials provider."""
    try:
        # In no variable: it holds the secret.
        answer.take(callable_())
    except BaseException as error:  # noqa: BLE001
        answer.fail(error)
