"""Benchmarks of the Python package, each next to a baseline: `bench.py [WHEEL]`.

The speed of a shared machine changes from second to second. Therefore all calls of a table are
measured alternately, and the best measurement of each counts.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import timeit
from pathlib import Path
from typing import TYPE_CHECKING

from layerfi_auth.testing import BUSINESS_ID, Emulator

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 60
CALLS = 20_000


class Plain:
    """The least that a hand-written cache would cost: an attribute."""

    __slots__ = ("header",)

    def __init__(self) -> None:
        self.header = "Bearer x"


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(
    title: str, rows: dict[str, float], baseline: str, targets: dict | None = None
) -> None:
    """Print rows next to the baseline; a target is (value, baseline when it was set)."""
    say(f"\n{title}")
    say(f"  {'':<44}{'ns':>8}{'x base':>9}   target")
    for name, value in rows.items():
        note = ""
        if targets and name in targets:
            target, its_baseline = targets[name]
            scaled = value / rows[baseline] * its_baseline
            note = (
                f"<= {target}: {'met' if value <= target else 'missed'}; at the baseline of "
                f"{its_baseline} when it was set, {scaled:.1f}: "
                f"{'met' if scaled <= target else 'MISSED'}"
            )
        say(f"  {name:<44}{value:>8.1f}{value / rows[baseline]:>9.2f}   {note}")


def best_in_turns(calls: dict[str, timeit.Timer]) -> dict[str, float]:
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(TURNS):
        for name, timer in calls.items():
            best[name] = min(best[name], timer.timeit(CALLS) / CALLS * 1e9)
    return best


def hits(layer: Emulator) -> None:
    client = layer.client()
    client.token()
    client.business_token(BUSINESS_ID)
    calls = {
        "an empty loop": timeit.Timer("pass"),
        "read a Python attribute": timeit.Timer("p.header", globals={"p": Plain()}),
        # A method of the module without arguments that returns an existing object.
        "an empty native call": timeit.Timer("f()", globals={"f": client.token().__copy__}),
        "client.authorization()": timeit.Timer("f()", globals={"f": client.authorization}),
        "client.token()": timeit.Timer("f()", globals={"f": client.token}),
        "client.business_token(id)": timeit.Timer(
            "f(b)", globals={"f": client.business_token, "b": BUSINESS_ID}
        ),
    }
    table(
        "A hit (ns per call)",
        best_in_turns(calls),
        "an empty native call",
        {"client.authorization()": (30, 18.5)},
    )


async def awaited(layer: Emulator) -> None:
    client = layer.client()
    await client.token_async()

    async def empty() -> None:
        return None

    best: dict[str, float] = {}
    for _ in range(TURNS):
        for name, call in (
            ("await an empty coroutine", empty),
            ("await client.token_async()", client.token_async),
            ("await client.authorization_async()", client.authorization_async),
        ):
            started = time.perf_counter_ns()
            for _ in range(CALLS):
                await call()
            took = (time.perf_counter_ns() - started) / CALLS
            best[name] = min(best.get(name, float("inf")), took)
    table(
        "An awaited hit (ns per call)",
        best,
        "await an empty coroutine",
        {"await client.token_async()": (150, 68)},
    )


def threads(layer: Emulator) -> None:
    client = layer.client()
    empty = client.token().__copy__

    def per_call(call: Callable[[], object], count: int) -> float:
        """Wall time divided by all calls: with a GIL, one thread runs at a time."""
        calls = 400_000 // count
        ready = threading.Barrier(count + 1)

        def run() -> None:
            ready.wait()
            for _ in range(calls):
                call()

        workers = [threading.Thread(target=run) for _ in range(count)]
        for worker in workers:
            worker.start()
        ready.wait()
        started = time.perf_counter_ns()
        for worker in workers:
            worker.join()
        return (time.perf_counter_ns() - started) / (calls * count)

    for name, call in (
        ("An empty native call", empty),
        ("client.authorization()", client.authorization),
    ):
        best: dict[str, float] = {}
        for _ in range(12):
            for count in (1, 2, 8, 32):
                row = f"{count} thread{'s' * (count > 1)}"
                best[row] = min(best.get(row, float("inf")), per_call(call, count))
        table(f"{name} from threads (wall time over all threads' calls)", best, "1 thread")


START = """
import sys, time
started = time.perf_counter_ns()
{code}
took = time.perf_counter_ns() - started
pages = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
print(took / 1e6, int(pages[0].split()[1]) / 1024)
"""

STEPS = {
    "bare interpreter": "pass",
    "import json (for comparison)": "import json",
    "import layerfi_auth": "import layerfi_auth",
    "... and the first token": "import layerfi_auth; layerfi_auth.Client.from_env().token()",
    "... async, with asyncio": (
        "import asyncio, layerfi_auth; "
        "asyncio.run(layerfi_auth.Client.from_env().token_async())"
    ),
}


def footprint(layer: Emulator) -> None:
    times = dict.fromkeys(STEPS, float("inf"))
    sizes = dict.fromkeys(STEPS, float("inf"))
    for _ in range(12):
        for name, code in STEPS.items():
            out = subprocess.run(
                [sys.executable, "-I", "-c", START.format(code=code)],
                env=layer.env(),
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            times[name] = min(times[name], float(out[0]))
            sizes[name] = min(sizes[name], float(out[1]))
    say("\nTime (ms) and resident memory (MiB over the bare interpreter)")
    say(f"  {'':<44}{'ms':>10}{'MiB':>10}   target")
    bare = sizes["bare interpreter"]
    for name in STEPS:
        grown = sizes[name] - bare
        note = ""
        if name == "import layerfi_auth":
            note = f"<= 5 ms: {'met' if times[name] <= 5 else 'MISSED'}"
        if name == "... and the first token":
            note = f"<= 8 MiB: {'met' if grown <= 8 else 'MISSED'}"
        say(f"  {name:<44}{times[name]:>10.2f}{grown:>10.2f}   {note}")


def main() -> None:
    say(f"CPython {sys.version.split()[0]}; the best of {TURNS} turns")
    with Emulator(rate_limit=None) as layer:
        hits(layer)
        asyncio.run(awaited(layer))
        threads(layer)
        footprint(layer)
    for wheel in map(Path, sys.argv[1:]):
        size = wheel.stat().st_size / 1024 / 1024
        say(f"\n{wheel.name}: {size:.2f} MiB   <= 5: {'met' if size <= 5 else 'MISSED'}")


main()
