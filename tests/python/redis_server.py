"""A Redis or Valkey server of a test: its own process, on a free port, in an empty folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import valkey

from conftest import ROOT, TIMEOUT, free_port

if TYPE_CHECKING:
    from typing_extensions import Self

# The kernel kills a program that was started with it when its parent ends.
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class ServerError(AssertionError):
    """The server did not do what the test needs."""


def server_program(kind: str) -> str:
    """Return the path of redis-server (``redis``) or valkey-server (``valkey``)."""
    found = subprocess.run(
        [ROOT / "scripts/redis-server", "--kind", kind],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if found.returncode != 0:
        raise ServerError(found.stderr.strip())
    return found.stdout.strip()


def _refuse_a_taken_port(port: int) -> None:
    with socket.socket() as probe:
        # As the server does: connections of a killed one may remain for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerError(f"port {port} is taken, so no server was started") from error


class RedisServer:
    """A running server. It stores nothing on the disk.

    :param folder: an empty folder.
    :param kind: ``redis`` or ``valkey``.
    :param options: of the server, such as ``("--maxmemory", "1mb")``.
    :param port: a free port by default.
    :param password: of the user ``default``; no password by default.
    """

    def __init__(
        self,
        folder: Path,
        kind: str = "redis",
        *options: str,
        port: int | None = None,
        password: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ServerError(f"the folder of the server is not empty: {folder}")
        self.kind = kind
        self.folder = folder
        self.port = port or free_port()
        self.options = options
        self.password = password
        self._program = server_program(kind)
        self.start()

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        _refuse_a_taken_port(self.port)
        # In a file, because arguments are visible to all users of the machine.
        config = self.folder / "server.conf"
        config.write_text(f"requirepass {self.password}\n" if self.password else "")
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [
                    *WITH_PARENT,
                    *(self._program, str(config), "--port", str(self.port)),
                    *("--bind", "127.0.0.1", "--dir", str(self.folder)),
                    *("--save", "", "--appendonly", "no", *self.options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"},
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def _wait_until_it_answers(self) -> None:
        until = time.monotonic() + TIMEOUT
        while True:
            if self._process.poll() is not None:
                raise ServerError(f"the server ended early; its log says: {self.log()}")
            try:
                about = self.client().info("server")
            except valkey.exceptions.ConnectionError as error:
                if time.monotonic() > until:
                    text = f"the server did not answer within {TIMEOUT:.0f} s: {error}"
                    raise ServerError(text) from error
                time.sleep(0.02)
                continue
            # Another server, which took the port in between, would answer as well.
            if about["process_id"] != self.pid:
                raise ServerError(f"another server answers on port {self.port}")
            self.run_id = about["run_id"]
            return

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def client(self, timeout: float | None = TIMEOUT) -> valkey.Valkey:
        """Return a client that looks into the server."""
        return valkey.Valkey(
            port=self.port,
            password=self.password,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )

    def is_mine(self) -> bool:
        """Return whether the server that answers is the one that was started last."""
        return self.client().info("server")["run_id"] == self.run_id

    def flush(self) -> None:
        """Remove all entries."""
        self.client().flushall()

    def pause(self) -> None:
        """Stop the process: connections are accepted by the kernel, and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process; it may be paused, or have ended."""
        self._process.kill()
        self._process.wait(TIMEOUT)

    def restart(self) -> None:
        """Kill the server and start it on the same port, empty."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
