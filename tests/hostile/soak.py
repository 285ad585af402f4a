"""The Python program's part in the soak.

Threads and an event loop that call all the time, and clients that come and go.
tests/rust/src/bin/soak_client.rs says how it is started, told what to do, and answers;
tests/rust/tests/soak judges the figures.
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
# The client's clock is the kernel's coarse one, which is behind by up to a tick: 10 ms at
# 100 Hz, the slowest kernel there is.
CLOCK_TICK = 0.010
# The longest quiet time after failures is 5 s.
HEALED_WITHIN = 10.0
# What a call may fail with in a bad world. All else is a fault of the library, or of this file.
THE_WORLDS = {"transport", "timeout", "tls", "oauth", "api", "rate_limited", "protocol"}


def say(what: dict) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def wait_for_a_line() -> None:
    """Ends the process where there will be none: whoever started it is gone."""
    if not sys.stdin.readline():
        os._exit(1)


def end(why: str) -> None:
    """Tell which law was broken, and end at once, from any thread."""
    sys.stderr.write(f"soak.py: {why}\n")
    sys.stderr.flush()
    os._exit(1)


class Call:
    """A call: how it ended is noted, and what the world is to blame for is passed over."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __enter__(self) -> Self:
        self.wall = time.time()
        self.began = time.monotonic()
        return self

    def served(self, expires_at: datetime) -> None:
        """Note what was served: it must have been alive when it was asked for."""
        dead = self.wall - expires_at.timestamp()
        if dead >= CLOCK_TICK:
            end(f"a token was served that had been dead for {dead} s")
        with self.run.lock:
            self.run.served += 1
            self.run.deadest = max(self.run.deadest, dead)

    def __exit__(self, kind: object, error: BaseException | None, _where: object) -> bool:
        took = time.monotonic() - self.began
        with self.run.lock:
            self.run.slowest = max(self.run.slowest, took)
        if error is None:
            return False
        if not isinstance(error, LayerAuthError) or error.kind not in THE_WORLDS:
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
        self.passed = 0
        self.failed = Counter[str]()
        self.slowest = 0.0
        self.deadest = 0.0

    def new_client(self) -> Client:
        return Client.from_env(proxy=False, **self.timeouts)

    def passing_client(self) -> Client:
        """Give a client that comes and goes, with all that it opens."""
        with self.lock:
            self.passed += 1
        return self.new_client()

    def turns(self, number: int) -> Iterator[tuple[random.Random, int]]:
        dice = random.Random(number * 7919 + 1)
        while not self.stop.is_set():
            yield dice, 8 if dice.randrange(64) == 0 else dice.randrange(8)

    def alive(self, call: Call, header: str, token: AccessToken | None) -> None:
        """Look at a header's end, which the token tells that has it, if it is still there."""
        if token is not None and token.authorization == header:
            call.served(token.expires_at)


def thread(run: Run, number: int) -> None:
    client = run.client
    for dice, what in run.turns(number):
        with Call(run) as call:
            if what == 0:
                business = dice.choice(run.businesses)
                call.served(client.business_token(business).expires_at)
            elif what == 1:
                client.whoami()
            elif what in (2, 3):
                call.served(client.token().expires_at)
            elif what == 8:
                call.served(run.passing_client().token().expires_at)
            else:
                run.alive(call, client.authorization(), client.try_token())
        time.sleep(0.005 + dice.random() * 0.05)


async def task(run: Run, number: int) -> None:
    client = run.client
    for dice, what in run.turns(number + 1000):
        with Call(run) as call:
            if what == 0:
                token = await client.business_token_async(dice.choice(run.businesses))
                call.served(token.expires_at)
            elif what == 1:
                await client.whoami_async()
            elif what in (2, 3):
                call.served((await client.token_async()).expires_at)
            elif what == 4:
                # One that gives up: whom it leaves behind must not notice.
                waiting = asyncio.ensure_future(client.whoami_async())
                await asyncio.sleep(dice.random() * 0.01)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
            elif what == 8:
                call.served((await run.passing_client().token_async()).expires_at)
            else:
                header = await client.authorization_async()
                run.alive(call, header, client.try_token())
        await asyncio.sleep(0.005 + dice.random() * 0.05)


async def tasks(run: Run) -> None:
    await asyncio.gather(*(task(run, number) for number in range(TASKS)))


def heal(run: Run) -> float:
    started = time.monotonic()
    while True:
        try:
            run.client.whoami()
        except LayerAuthError as error:
            if time.monotonic() - started > HEALED_WITHIN:
                end(f"not healed: {error}")
            time.sleep(0.1)
        else:
            return time.monotonic() - started


def main() -> None:
    # What goes wrong here is meant to.
    logging.getLogger("layerfi_auth").addHandler(logging.NullHandler())
    run = Run(*map(int, sys.argv[1:]))
    # The engine's background threads stay for the process's life; they are there from now on.
    run.client.whoami()
    asyncio.run(run.client.whoami_async())
    say({"callers": THREADS + TASKS + len(run.businesses)})

    wait_for_a_line()
    workers = [threading.Thread(target=thread, args=(run, i)) for i in range(THREADS)]
    workers.append(threading.Thread(target=lambda: asyncio.run(tasks(run))))
    for worker in workers:
        worker.start()

    wait_for_a_line()
    healed = heal(run)
    run.stop.set()
    for worker in workers:
        worker.join(20)
        if worker.is_alive():
            end("a thread hangs")
    stats = run.client.stats()
    del run.client, workers
    gc.collect()
    say(
        {
            "served": run.served,
            "deadest_us": round(run.deadest * 1e6),
            "failed": run.failed,
            "slowest_ms": round(run.slowest * 1000),
            "healed_ms": round(healed * 1000),
            "passed": run.passed,
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
                }
            ],
        }
    )
    wait_for_a_line()


if __name__ == "__main__":
    main()
