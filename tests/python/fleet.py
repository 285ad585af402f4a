"""Fleets: many processes in several languages that get tokens at the same time.

tests/rust/src/bin/fleet_worker.rs documents the processes; `make fleet-programs` builds them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from conftest import ROOT, TIMEOUT, free_port
from redis_server import WITH_PARENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from layerfi_auth.testing import Emulator

PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "fleet"
# The lease of a process that requests a token for all, in seconds.
LEASE = 3.0
# The longest pause of a process that waits for another's token, in seconds.
POLL = 0.75
# Timeouts that only a broken machine reaches, in seconds.
CALL_TIMEOUT = 60.0
ATTEMPT_TIMEOUT = 20.0


class FleetError(AssertionError):
    """The fleet did not do what the test needs."""


def program(name: str) -> str:
    path = PROGRAMS / name
    if not path.exists():
        raise FleetError(f"{path} is missing; `make fleet-programs` builds it")
    return str(path)


class Fleet:
    """Processes that start at once, as a context manager.

    :param layer: the emulator.
    :param folder: an empty folder.
    :param env: more environment variables, such as ``LAYER_SHARED_CACHE``.
    :param rust: number of processes in Rust; ``c`` and ``python`` likewise. The latter are the
        workers of one gunicorn.
    :param interval: between the rounds of a process, in seconds.
    :param whoami_every: rounds for each call to the API.
    """

    def __init__(
        self,
        layer: Emulator,
        folder: Path,
        env: Mapping[str, str] | None = None,
        *,
        rust: int = 0,
        c: int = 0,
        python: int = 0,
        interval: float = 0.1,
        whoami_every: int = 5,
        business: str = "",
        timeout: float = CALL_TIMEOUT,
        attempt_timeout: float = ATTEMPT_TIMEOUT,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.layer = layer
        self.folder = folder
        self.size = rust + c + python
        self._counts = {"rust": rust, "c": c, "python": python}
        self._env = {
            **os.environ,
            **layer.env(),
            **(env or {}),
            "FLEET_INTERVAL_MS": str(round(interval * 1000)),
            "FLEET_WHOAMI_EVERY": str(whoami_every),
            "FLEET_BUSINESS": business,
            "FLEET_TIMEOUT_MS": str(round(timeout * 1000)),
            "FLEET_ATTEMPT_MS": str(round(attempt_timeout * 1000)),
        }
        self._processes: list[subprocess.Popen] = []
        self._gunicorn: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._lines: list[dict] = []
        self._start = self._stop = -1
        self.killed: set[int] = set()
        self._files = ExitStack()

    # Starting.

    def __enter__(self) -> Self:
        try:
            self._start_all()
            self.wait_until(
                lambda: len(self.pids()) == self.size, "not all processes were ready"
            )
        except BaseException:
            self._end()
            raise
        return self

    def _start_all(self) -> None:
        pipes = {name: os.pipe() for name in ("START", "STOP", "OUTPUT")}
        inherited = [pipes["START"][0], pipes["STOP"][0], pipes["OUTPUT"][1]]
        names = ("FLEET_START_FD", "FLEET_STOP_FD", "FLEET_OUTPUT_FD")
        self._env.update(zip(names, map(str, inherited), strict=True))
        # With their other ends, each process of the fleet notices when this one ends.
        self._start, self._stop = pipes["START"][1], pipes["STOP"][1]
        try:
            for kind in ("rust", "c"):
                for number in range(self._counts[kind]):
                    command = [program(f"worker_{kind}")]
                    self._processes.append(self._run(command, f"{kind}-{number}", inherited))
            if self._counts["python"]:
                self._gunicorn = self._run(self._gunicorn_command(), "gunicorn", inherited)
        finally:
            for descriptor in inherited:
                os.close(descriptor)
        self._reader = threading.Thread(target=self._read, args=(pipes["OUTPUT"][0],))
        self._reader.start()

    def _run(self, command, name, inherited) -> subprocess.Popen:
        errors = self._files.enter_context((self.folder / f"{name}.log").open("w"))
        return subprocess.Popen(
            [*WITH_PARENT, *command],
            env=self._env,
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd=self.folder,
        )

    def _gunicorn_command(self) -> list[str]:
        worker = str(ROOT / "tests/fleet/worker.py")
        return [
            *(sys.executable, "-W", "ignore::DeprecationWarning", "-m", "gunicorn"),
            *("--config", worker, "--chdir", str(Path(worker).parent)),
            *("--workers", str(self._counts["python"])),
            *("--bind", f"127.0.0.1:{free_port()}"),
            *("--worker-tmp-dir", str(self.folder), "worker:app"),
        ]

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8") as lines:
            for text in lines:
                line = {**json.loads(text), "seen": time.monotonic()}
                with self._lock:
                    self._lines.append(line)

    def start(self) -> float:
        """Let all processes begin at once; return when, as `time.monotonic` does."""
        os.close(self._start)
        self._start = -1
        self.started = time.monotonic()
        return self.started

    # Looking.

    def lines(self, name: str) -> list[dict]:
        """Return what the processes said under this name."""
        with self._lock:
            return [line for line in self._lines if name in line]

    def pids(self) -> set[int]:
        """Return the processes that are ready and were not killed."""
        return {line["pid"] for line in self.lines("ready")} - self.killed

    def tokens(self, what: str = "token") -> dict[int, str]:
        """Return a hash of the last token of each process that has one."""
        return {line["pid"]: line[what] for line in self.lines(what)}

    def all_have_a_token(self, other_than=(), what: str = "token") -> bool:
        tokens = self.tokens(what)
        alive = self.pids()
        return len(alive) >= self.size and all(
            tokens.get(pid) is not None and tokens[pid] not in other_than for pid in alive
        )

    def failures(self) -> Counter:
        return Counter((line["what"], line["failed"]) for line in self.lines("failed"))

    def ended_early(self) -> list[str]:
        """Return the logs of processes that ended and should not have."""
        if self._stop < 0:
            return []
        ended = [
            process
            for process in [*self._processes, *filter(None, [self._gunicorn])]
            if process.poll() is not None and process.pid not in self.killed
        ]
        return [
            f"process {one.pid} ended with {one.returncode}: {self.logs()}" for one in ended
        ]

    def logs(self) -> str:
        texts = (path.read_text(errors="replace") for path in self.folder.glob("*.log"))
        return "".join(sorted(set(texts)))[-2000:]

    def wait_until(self, condition, why: str, timeout: float = TIMEOUT) -> float:
        """Wait until a condition is true; return how long that took."""
        began = time.monotonic()
        while not condition():
            if ended := self.ended_early():
                raise FleetError(f"process {ended[0]}")
            if time.monotonic() > began + timeout:
                text = f"{why} within {timeout:.0f} s: {self.failures()} {self.logs()}"
                raise FleetError(text)
            time.sleep(0.02)
        return time.monotonic() - began

    def wait_until_all_have_a_token(self, other_than=(), what="token", size=None) -> float:
        """Wait for a token in each process; return how long it took."""
        if size is not None:
            self.size = size
        return self.wait_until(
            lambda: self.all_have_a_token(other_than, what),
            "not all processes were served",
        )

    def process_with_a_token_request(self) -> int:
        """Return a process that has a connection to the emulator.

        There is only one, unless the store did not answer another one in time.
        """
        port = int(self.layer.url.rpartition(":")[2])

        def connected(pid: int) -> bool:
            try:
                connections = psutil.Process(pid).net_connections("tcp")
            except psutil.Error:
                return False
            return any(
                one.status == psutil.CONN_ESTABLISHED and one.raddr and one.raddr.port == port
                for one in connections
            )

        found = next((pid for pid in self.pids() if connected(pid)), None)
        if found is None:
            raise FleetError("no process is connected to the emulator")
        return found

    # Ending.

    def kill(self, pid: int) -> None:
        """Kill one process of the fleet. gunicorn starts another one in place of its own."""
        self.killed.add(pid)
        if pid not in {process.pid for process in self._processes}:
            os.kill(pid, signal.SIGKILL)
            return
        self.size -= 1
        for process in self._processes:
            if process.pid == pid:
                process.kill()
                process.wait(TIMEOUT)

    def stop(self) -> Totals:
        """Stop all processes, and return the sum of their counters."""
        os.close(self._stop)
        self._stop = -1
        self.wait_until(
            lambda: self.pids() <= {line["pid"] for line in self.lines("end")},
            "not all processes stopped",
        )
        for process in self._processes:
            code = process.wait(TIMEOUT)
            if process.pid not in self.killed and code != 0:
                raise FleetError(f"process {process.pid} ended with {code}: {self.logs()}")
        self._end()
        return Totals(self)

    def _end(self) -> None:
        for descriptor in ("_start", "_stop"):
            if getattr(self, descriptor) >= 0:
                os.close(getattr(self, descriptor))
                setattr(self, descriptor, -1)
        for process in self._processes:
            process.kill()
            process.wait(TIMEOUT)
        if self._gunicorn is not None:
            # It ends its workers.
            self._gunicorn.terminate()
            try:
                self._gunicorn.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self._gunicorn.kill()
                self._gunicorn.wait(TIMEOUT)
        if hasattr(self, "_reader"):
            self._reader.join(TIMEOUT)
        self._files.close()

    def __exit__(self, *_: object) -> None:
        self._end()


class Totals:
    """What happened in a fleet. Counters of killed processes are lost."""

    def __init__(self, fleet: Fleet) -> None:
        ends = fleet.lines("end")
        self.processes = Counter(line["end"] for line in ends)
        self.calls = sum(line["calls"] for line in ends)
        self.failures = fleet.failures()
        self.failed = sum(self.failures.values())
        self.dead = fleet.lines("dead")
        self.slowest = max(line["slowest_ms"] for line in ends) / 1000
        self.token_requests = fleet.layer.count("token")
        self.shared = {
            name: sum(line.get(name, 0) for line in ends)
            for name in ("adopted", "published", "waits", "alone", "rejected", "faults")
        }

    def __str__(self) -> str:
        return (
            f"{sum(self.processes.values())} processes made {self.calls} calls and "
            f"{self.token_requests} token requests; {self.failed} calls failed "
            f"{dict(self.failures) or ''}, {len(self.dead)} dead tokens, slowest call "
            f"{self.slowest:.2f} s; {self.shared}"
        )
