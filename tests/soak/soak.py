"""The Python program of the soak test.

Threads and an event loop make calls all the time, and clients are created and dropped.
tests/rust/src/bin/soak_client.rs documents the arguments and the protocol;
tests/rust/tests/soak checks the results.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from layerfi_auth import Client, LayerAuthError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from typing_extensions import Self

    from layerfi_auth import AccessToken

THREADS = 6
TASKS = 16
# The client reads the kernel's coarse clock, which lags by up to one tick: 10 ms with the
# slowest tick, 100 Hz.
CLOCK_TICK = 0.010
# The longest back-off after failures is 5 s; the rest is for a busy machine.
RECOVERY_LIMIT = 60.0
# Kinds of errors with a cause outside the client. Any other error is a bug.
EXTERNAL_KINDS = {"transport", "timeout", "tls", "oauth", "api", "rate_limited", "protocol"}


def say(what: dict) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def wait_for_a_line() -> str:
    """Read one line; exit if standard input is closed because the parent ended."""
    line = sys.stdin.readline()
    if not line:
        os._exit(1)
    return line.strip()


def end(why: str) -> None:
    """Print the violated invariant and exit at once, from any thread."""
    sys.stderr.write(f"soak.py: {why}\n")
    sys.stderr.flush()
    os._exit(1)


class Call:
    """Records the outcome of a call; suppresses errors with an external cause."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __enter__(self) -> Self:
        self.wall = time.time()
        self.began = time.monotonic()
        return self

    def served(self, expires_at: datetime) -> None:
        """Record a token, which must have been valid when it was requested."""
        expired = self.wall - expires_at.timestamp()
        if expired >= CLOCK_TICK:
            end(f"an expired token was served, {expired} s after its expiry")
        with self.run.lock:
            self.run.served += 1
            self.run.max_expired = max(self.run.max_expired, expired)

    def __exit__(self, kind: object, error: BaseException | None, _where: object) -> bool:
        took = time.monotonic() - self.began
        with self.run.lock:
            self.run.slowest = max(self.run.slowest, took)
        if error is None:
            return False
        if not isinstance(error, LayerAuthError) or error.kind not in EXTERNAL_KINDS:
            end(f"a call raised {error!r}")
        with self.run.lock:
            self.run.failed[error.kind] += 1
        return True


class Run:
    def __init__(self, timeout: int, attempt: int, connect: int, businesses: int) -> None:
        self.timeouts = {
            "timeout": timeout / 1000,
            "attempt_timeout": attempt / 1000,
            "connect_timeout": connect / 1000,
        }
        self.businesses = [f"00000000-0000-4000-8000-{i:012x}" for i in range(businesses)]
        self.client = self.new_client()
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.served = 0
        self.short_lived = 0
        self.failed = Counter[str]()
        self.slowest = 0.0
        self.max_expired = 0.0

    def count_failed(self) -> int:
        with self.lock:
            return sum(self.failed.values())

    def new_client(self) -> Client:
        return Client.from_env(proxy=False, **self.timeouts)

    def short_lived_client(self) -> Client:
        """Return a client that the caller drops, with its connections."""
        with self.lock:
            self.short_lived += 1
        return self.new_client()

    def choices(self, number: int) -> Iterator[tuple[random.Random, int]]:
        rng = random.Random(number * 7919 + 1)
        while not self.stop.is_set():
            yield rng, 8 if rng.randrange(64) == 0 else rng.randrange(8)

    def check_header(self, call: Call, header: str, token: AccessToken | None) -> None:
        """Check the expiry of a header if its token is still the current one."""
        if token is not None and token.authorization == header:
            call.served(token.expires_at)


def thread(run: Run, number: int) -> None:
    client = run.client
    for rng, what in run.choices(number):
        with Call(run) as call:
            if what == 0:
                business = rng.choice(run.businesses)
                call.served(client.business_token(business).expires_at)
            elif what == 1:
                client.whoami()
            elif what in (2, 3):
                call.served(client.token().expires_at)
            elif what == 8:
                call.served(run.short_lived_client().token().expires_at)
            else:
                run.check_header(call, client.authorization(), client.try_token())
        time.sleep(0.005 + rng.random() * 0.05)


async def task(run: Run, number: int) -> None:
    client = run.client
    for rng, what in run.choices(number + 1000):
        with Call(run) as call:
            if what == 0:
                token = await client.business_token_async(rng.choice(run.businesses))
                call.served(token.expires_at)
            elif what == 1:
                await client.whoami_async()
            elif what in (2, 3):
                call.served((await client.token_async()).expires_at)
            elif what == 4:
                # Cancelled: other callers must not be affected.
                waiting = asyncio.ensure_future(client.whoami_async())
                await asyncio.sleep(rng.random() * 0.01)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
            elif what == 8:
                call.served((await run.short_lived_client().token_async()).expires_at)
            else:
                header = await client.authorization_async()
                run.check_header(call, header, client.try_token())
        await asyncio.sleep(0.005 + rng.random() * 0.05)


async def tasks(run: Run) -> None:
    await asyncio.gather(*(task(run, number) for number in range(TASKS)))


def recover(run: Run) -> float:
    started = time.monotonic()
    while True:
        try:
            run.client.whoami()
        except LayerAuthError as error:
            if time.monotonic() - started > RECOVERY_LIMIT:
                end(f"no recovery within {RECOVERY_LIMIT} s: {error}")
            time.sleep(0.1)
        else:
            return time.monotonic() - started


def main() -> None:
    # Failures are expected: do not print them.
    logger = logging.getLogger("layerfi_auth")
    logger.addHandler(logging.NullHandler())
    # The first call logs something, so that the thread of the log runs from the start.
    logger.setLevel(logging.DEBUG)
    run = Run(*map(int, sys.argv[1:]))
    # The engine's background threads run until the process ends; they exist from now on.
    run.client.whoami()
    asyncio.run(run.client.whoami_async())
    say({"callers": THREADS + TASKS + len(run.businesses)})

    wait_for_a_line()
    workers = [threading.Thread(target=thread, args=(run, i)) for i in range(THREADS)]
    workers.append(threading.Thread(target=lambda: asyncio.run(tasks(run))))
    for worker in workers:
        worker.start()
    say({})

    counted = 0
    while wait_for_a_line() == "count":
        failed = run.count_failed()
        say({"failed": failed - counted})
        counted = failed
    recovered = recover(run)
    run.stop.set()
    for worker in workers:
        worker.join(60)
        if worker.is_alive():
            end("a thread did not end within 60 s")
    stats = run.client.stats()
    del run.client, workers
    gc.collect()
    say(
        {
            "served": run.served,
            "max_expired_us": round(run.max_expired * 1e6),
            "failed": run.failed,
            "slowest_ms": round(run.slowest * 1000),
            "recovered_ms": round(recovered * 1000),
            "short_lived": run.short_lived,
            "clients": [
                {
                    "hits": stats.hits,
                    "stale_serves": stats.stale_serves,
                    "refreshes": stats.refreshes,
                    "token_requests": stats.token_requests,
                    "mints": stats.mints,
                    "retries": stats.retries,
                    "invalidations": stats.invalidations,
                    "failures": sum(stats.failures.values()),
                    "shared_adopted": stats.shared_adopted,
                    "shared_published": stats.shared_published,
                    "shared_alone": stats.shared_alone,
                    "shared_rejected": stats.shared_rejected,
                    "shared_faults": stats.shared_faults,
                }
            ],
        }
    )
    wait_for_a_line()


if __name__ == "__main__":
    main()
