"""Uses a client while the process can start no thread or open no file descriptor.

`test_scarcity.py` runs it as a program of its own, because the limits apply to a whole process.

Usage: `scarcity_probe.py <resource>`, with the client's settings in the environment. It prints
one line for each child process that did not behave.
"""

from __future__ import annotations

import asyncio
import ctypes

# Imported now: the user of the limited processes may not read this interpreter's files.
import encodings.idna  # noqa: F401
import itertools
import linecache  # noqa: F401
import logging
import os
import resource
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from layerfi_auth import Client, LayerAuthError

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 60.0
BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
FREE = (0, 1, 2, 3, 5)
# Each child waits for quiet times, so several run at the same time.
MAX_CHILDREN = 12
PR_SET_DUMPABLE = 4


def credentials() -> tuple[str, str]:
    return os.environ["LAYER_CLIENT_ID"], os.environ["LAYER_CLIENT_SECRET"]


def make_client(call: str) -> Client:
    options = {"proxy": False, "max_attempts": 1}
    if call.startswith("provider"):
        return Client.from_env(credentials=credentials, **options)
    if call.startswith("secret_file"):
        return Client.from_env(client_secret_file=os.environ["SECRET_FILE"], **options)
    return Client.from_env(**options)


async def batch_async(client: Client) -> None:
    async for result in client.business_tokens([BUSINESS]):
        if isinstance(result, Exception):
            raise result


def batch(client: Client) -> None:
    for result in client.business_tokens([BUSINESS]):
        if isinstance(result, Exception):
            raise result


def prepare(client: Client) -> None:
    client.prepare()
    client.token()


BLOCKING: dict[str, Callable[[Client], object]] = {
    "token": lambda client: client.token(),
    "prepare": prepare,
    "whoami": lambda client: client.whoami(),
    "business_token": lambda client: client.business_token(BUSINESS),
    "batch": batch,
    "secret_file": lambda client: client.token(),
    "provider": lambda client: client.token(),
}
ASYNC = {
    "token_async": lambda client: client.token_async(),
    "whoami_async": lambda client: client.whoami_async(),
    "business_token_async": lambda client: client.business_token_async(BUSINESS),
    "batch_async": batch_async,
    "provider_async": lambda client: client.token_async(),
}


def threads_of_this_user() -> int:
    count = 0
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and process.stat().st_uid == os.getuid():
                count += len(list((process / "task").iterdir()))
        except OSError:
            pass
    return count


def set_limit(which: int, limit: int) -> int:
    before, hard = resource.getrlimit(which)
    resource.setrlimit(which, (limit, hard))
    return before


class Threads:
    def take(self, free: int) -> None:
        self.before = set_limit(resource.RLIMIT_NPROC, threads_of_this_user() + free)

    def give_back(self) -> None:
        set_limit(resource.RLIMIT_NPROC, self.before)


class Descriptors:
    def take(self, free: int) -> None:
        highest = max(int(file.name) for file in Path("/proc/self/fd").iterdir())
        self.before = set_limit(resource.RLIMIT_NOFILE, highest + 1 + free)
        self.files = []
        try:
            while True:
                self.files.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for _ in range(free):
            os.close(self.files.pop())

    def give_back(self) -> None:
        set_limit(resource.RLIMIT_NOFILE, self.before)
        for file in self.files:
            os.close(file)


def check(limit: Threads | Descriptors, name: str, free: int) -> None:
    client = make_client(name)
    loop = asyncio.new_event_loop()
    if name in ASYNC:

        def call() -> object:
            return loop.run_until_complete(ASYNC[name](client))

        # asyncio creates what it needs at the first use.
        loop.run_until_complete(asyncio.sleep(0))
    else:

        def call() -> object:
            return BLOCKING[name](client)

    def succeeds() -> bool:
        try:
            call()
        except LayerAuthError as error:
            if not error.retryable or error.kind not in {"transport", "credentials"}:
                raise
            return False
        return True

    limit.take(free)
    for _ in range(2):
        succeeds()
    limit.give_back()
    until = time.monotonic() + TIMEOUT
    while not succeeds():
        assert time.monotonic() < until, "the call still fails after the limit was lifted"
        time.sleep(0.02)
    loop.close()


def become_another_user() -> None:
    """Become a user of its own: the limit on threads applies to a user, and not to root."""
    if os.getuid() == 0:
        user = 20_000 + os.getpid() % 40_000
        os.setresuid(user, user, user)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)


def fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # noqa: BLE001
            # Of `PanicException` too, which is not an `Exception`.
            os.write(1, f"{type(error).__name__}: {error}; ".encode())
        finally:
            os._exit(code)
    return pid


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(kind: str, name: str, before: str, free: int) -> None:
    become_another_user()
    limit = Threads() if kind == "threads" else Descriptors()
    if kind == "threads":
        limit.take(0)
        try:
            threading.Thread(target=lambda: None).start()
        except RuntimeError:
            pass
        else:
            raise AssertionError("the limit on threads has no effect")
        limit.give_back()
    if before != "nothing":
        # Its connection is kept, and so gives no descriptor back.
        used = make_client("token")
        used.whoami()
        asyncio.run(used.whoami_async())
    if before == "forked":
        code = wait(fork(lambda: check(limit, name, free)))
        assert code == 0, f"the child's exit code is {code}"
    else:
        check(limit, name, free)


def main() -> None:
    # Python warns of each fork of a process with threads.
    warnings.simplefilter("ignore", DeprecationWarning)
    logging.getLogger("layerfi_auth").addHandler(logging.NullHandler())
    kind = sys.argv[1]
    cases = itertools.product([*BLOCKING, *ASYNC], ["nothing", "used", "forked"], FREE)
    running: dict[int, str] = {}

    def reap() -> None:
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        what = running.pop(pid)
        if code != 0:
            print(f"{what}: exit code {code}", flush=True)  # noqa: T201

    # Under a limit of a single user, children would change each other's number of threads.
    most = MAX_CHILDREN if os.getuid() == 0 or kind == "descriptors" else 1
    for name, before, free in cases:
        if len(running) == most:
            reap()
        pid = fork(lambda: run(kind, name, before, free))  # noqa: B023
        running[pid] = f"{name} after {before} with {free} {kind} left"
    while running:
        reap()


main()
