"""Measures times of the Python package beside http.client: `measure.py PART`.

Prints one line of JSON per figure: its name and one value per round. `scripts/bench` runs
it; the client's settings come from the environment.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

HIT_ROUNDS = 40
HIT_CALLS = 50_000
WIRE_ROUNDS = 12
CLIENTS = 20
# A client allows five renewals at once.
RENEWALS = 5
BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


class Figures:
    """The values of each figure, one per round."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self.rounds.setdefault(name, []).append(value)

    def print(self) -> None:
        import json

        for name, rounds in self.rounds.items():
            print(json.dumps({"name": name, "rounds": rounds}))


def hits() -> None:
    import asyncio
    import timeit

    import layerfi_auth

    client = layerfi_auth.Client.from_env()
    client.token()
    client.business_token(BUSINESS)
    calls = {
        # A method of the module without arguments that returns an existing object.
        "py-floor-call": (client.token().__copy__, "f()"),
        "py-hit": (client.authorization, "f()"),
        "py-hit-token": (client.token, "f()"),
        "py-hit-business": (client.business_token, "f(b)"),
    }
    timers = {
        name: timeit.Timer(code, globals={"f": call, "b": BUSINESS})
        for name, (call, code) in calls.items()
    }
    figures = Figures()
    for _ in range(HIT_ROUNDS):
        for name, timer in timers.items():
            figures.add(name, timer.timeit(HIT_CALLS) / HIT_CALLS * 1e9)

    async def awaited() -> None:
        client = layerfi_auth.Client.from_env()
        await client.token_async()

        async def empty() -> None:
            return None

        calls = {
            "py-floor-await": empty,
            "py-awaited": client.token_async,
            "py-awaited-authorization": client.authorization_async,
        }
        for _ in range(HIT_ROUNDS):
            for name, call in calls.items():
                started = time.perf_counter_ns()
                for _ in range(HIT_CALLS):
                    await call()
                figures.add(name, (time.perf_counter_ns() - started) / HIT_CALLS)

    asyncio.run(awaited())
    figures.print()


class HandWritten:
    """A token request with http.client, as a careful program makes it."""

    def __init__(self) -> None:
        import base64
        import http.client
        import ssl
        from urllib.parse import urlencode, urlsplit

        url = urlsplit(os.environ["LAYER_AUTH_URL"])
        secret = f"{os.environ['LAYER_CLIENT_ID']}:{os.environ['LAYER_CLIENT_SECRET']}"
        self.path = url.path
        self.headers = {
            "Authorization": "Basic " + base64.b64encode(secret.encode()).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self.body = urlencode(
            {
                "grant_type": "client_credentials",
                "scope": os.environ["LAYER_SCOPE"],
                "client_id": os.environ["LAYER_CLIENT_ID"],
            }
        )
        if url.scheme == "https":
            # Only the server's authority: the system's roots would take milliseconds.
            context = ssl.create_default_context(cafile=os.environ["LAYER_CA_FILE"])
            self.connection = http.client.HTTPSConnection(url.netloc, context=context)
        else:
            self.connection = http.client.HTTPConnection(url.netloc)

    def token(self) -> str:
        import json

        self.connection.request("POST", self.path, self.body, self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"measure: HTTP {answer.status}")
        return json.loads(body)["access_token"]


def sleeps() -> int:
    """Return how often a thread of this process slept and was woken."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def wire() -> None:
    import statistics

    import layerfi_auth

    figures = Figures()
    layerfi_auth.Client.from_env().token()  # reads the system's roots
    HandWritten().token()
    for _ in range(WIRE_ROUNDS):
        by_hand = HandWritten()
        by_hand.token()
        times, before = [], sleeps()
        for _ in range(CLIENTS * RENEWALS):
            started = time.perf_counter_ns()
            by_hand.token()
            times.append((time.perf_counter_ns() - started) / 1e3)
        by_hand.connection.close()
        figures.add("py-floor-token", statistics.median(times))
        figures.add("py-floor-sleeps", (sleeps() - before) / len(times))

        times, slept = [], 0
        for _ in range(CLIENTS):
            client = layerfi_auth.Client.from_env()
            current = client.token()
            before = sleeps()
            for _ in range(RENEWALS):
                started = time.perf_counter_ns()
                current = client.renew_token(current)
                times.append((time.perf_counter_ns() - started) / 1e3)
            slept += sleeps() - before
        figures.add("py-token", statistics.median(times))
        figures.add("py-sleeps", slept / len(times))

        # A new client would resume the TLS session of one that still exists.
        del client
        times = []
        for _ in range(CLIENTS):
            started = time.perf_counter_ns()
            by_hand = HandWritten()
            by_hand.token()
            by_hand.connection.close()
            times.append((time.perf_counter_ns() - started) / 1e3)
        figures.add("py-floor-new-client", statistics.median(times))
        times = []
        for _ in range(CLIENTS):
            started = time.perf_counter_ns()
            client = layerfi_auth.Client.from_env()
            client.token()
            del client
            times.append((time.perf_counter_ns() - started) / 1e3)
        figures.add("py-new-client", statistics.median(times))
    figures.print()


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def first(part: str) -> None:
    """Get the process's very first token, the import included."""
    before, started = resident_mb(), time.perf_counter_ns()
    figures = Figures()
    if part == "first":
        import layerfi_auth

        client = layerfi_auth.Client.from_env()
        client.token()
    else:
        HandWritten().token()
    prefix = "py-" if part == "first" else "py-floor-"
    figures.add(prefix + "first", (time.perf_counter_ns() - started) / 1e6)
    figures.add(prefix + "memory", resident_mb() - before)
    figures.print()


PART = sys.argv[1]
if PART == "hits":
    hits()
elif PART == "wire":
    wire()
else:
    first(PART)
