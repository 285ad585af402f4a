"""Runs the programs in examples/ as their readers do, against the emulator.

    def test_something(layer, run_example):
        shop = run_example("flask-gunicorn", "gunicorn shop:app")  # or a list of arguments
        shop.wait_until_up("/health")
        assert shop.get("/whoami").json()["name"] == "Layer Example"
        assert layer.count("token") == 1

A program runs in its own folder, with the emulator's environment variables, and a free port in
``PORT`` and ``UVICORN_PORT``. It is stopped at the end of the test, with all processes that it
started.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from layerfi_auth.testing import Emulator

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(ROOT / "tests/support"))

from waiting import TIMEOUT, eventually, port_from  # noqa: E402


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("LAYER_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def layer():
    """An emulator without a rate limit. ``layer.count("token")`` counts token requests."""
    with Emulator(rate_limit=None) as emulator:
        yield emulator


@dataclass(frozen=True)
class Answer:
    """A response of an example's server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        assert self.status == 200, f"HTTP {self.status}: {self.body[:500]!r}"
        return json.loads(self.body)


class Program:
    """A running example."""

    def __init__(self, process: subprocess.Popen, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        """Return what the program has printed, to standard output and standard error."""
        return self._log.read_text(errors="replace")

    def request(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request to the program's port. A body that is not bytes becomes JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return self.request("POST", path, {} if body is None else body, **headers)

    def many(self, count: int, path: str, threads: int = 8, **headers: str) -> list[Answer]:
        """Send GET requests from several threads at the same time."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda _: self.get(path, **headers), range(count)))

    def wait_until_up(self, path: str = "/") -> None:
        """Wait until the program answers this path with 200."""

        def is_up() -> bool:
            self.must_run()
            try:
                return self.get(path).status == 200
            except OSError:
                return False

        eventually(is_up, lambda: f"{path} was never answered with 200: {self.output()}")

    def must_run(self) -> None:
        code = self.process.poll()
        assert code is None, f"the program ended with exit code {code}: {self.output()}"

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait until the program ends by itself, and return its exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the program did not end within {timeout:.0f} s: {self.output()}")

    def stop(self) -> None:
        """Stop the program as a service manager does, and check that it ends well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            code = self.wait()
            assert code in {0, -signal.SIGTERM}, f"exit code {code}: {self.output()}"

    def kill(self) -> None:
        """Kill the program and every process that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()


@pytest.fixture
def run_example(layer, tmp_path):
    """Return a function that starts a program in the folder of an example.

    Its arguments are the example's name; the command, a text as in a README or a list;
    variables for its environment; and ``stdin=subprocess.PIPE`` for a program that reads.
    Programs that the test has not stopped are stopped at its end, and must then end with exit
    code 0 or by the signal.
    """
    programs: list[Program] = []

    def run(
        example: str,
        command: str | Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> Program:
        arguments = shlex.split(command) if isinstance(command, str) else list(command)
        port, log = free_port(), tmp_path / f"program-{len(programs)}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                arguments,
                cwd=EXAMPLES / example,
                # uvicorn has a name of its own for the variable.
                env=environment(
                    layer, {"PORT": str(port), "UVICORN_PORT": str(port), **(env or {})}
                ),
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Its own process group, so that `kill` finds its children.
                start_new_session=True,
            )
        programs.append(Program(process, port, log))
        return programs[-1]

    try:
        yield run
        for program in programs:
            program.stop()
    finally:
        for program in programs:
            program.kill()


def environment(layer: Emulator, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of an example: the emulator's, and the programs of this venv."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **layer.env(),
        **(more or {}),
    }


def commands(example: str, language: str = "sh") -> list[str]:
    """Return the lines of the README's blocks of shell commands, without comments."""
    lines: list[str] = []
    block = False
    for line in (EXAMPLES / example / "README.md").read_text().splitlines():
        if line.startswith("```"):
            block = not block and line == f"```{language}"
        elif block and (command := line.partition(" #")[0].strip()):
            lines.append(command)
    return lines


def command(example: str, program: str) -> str:
    """Return the README's command that starts with these words: a reader runs the same."""
    found = [line for line in commands(example) if line.startswith(program)]
    assert found, f"examples/{example}/README.md has no command that starts with {program!r}"
    return found[0]


def run_command(line: str | Sequence[str | Path], example: str, env: Mapping[str, str]) -> str:
    """Run a command in an example's folder to its end, and return what it printed."""
    done = subprocess.run(
        shlex.split(line) if isinstance(line, str) else line,
        cwd=EXAMPLES / example,
        env=env,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{line}: exit code {done.returncode}: {done.stderr}"
    return done.stdout


def free_port() -> int:
    """Return a free port that no other test gets, and no test in tests/python."""
    return port_from(10_000)
