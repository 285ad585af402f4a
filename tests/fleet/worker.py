"""A process of a fleet under gunicorn: the application, and its configuration.

tests/rust/src/bin/fleet_worker.rs documents the protocol; tests/python/fleet.py starts
gunicorn. The client is made in the master, before it forks the workers.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import sys
import threading
import time
import traceback

from layerfi_auth import Client, LayerAuthError

# gunicorn's configuration.
preload_app = True
# Longer than any test, so that gunicorn kills no worker on a busy machine.
timeout = 600
graceful_timeout = 10
# Otherwise gunicorn 26 and newer make a socket in the home directory.
control_socket_disable = True

# The client reads the kernel's coarse clock, which lags by up to one tick: 10 ms with the
# slowest tick, 100 Hz.
CLOCK_TICK_MS = 10
SLOW_MS = 100


def number(name: str) -> int:
    return int(os.environ[name])


client = Client.from_env(
    proxy=False,
    timeout=number("FLEET_TIMEOUT_MS") / 1000,
    attempt_timeout=number("FLEET_ATTEMPT_MS") / 1000,
)


def app(_environ, start_response):
    """Answer a request with this worker's process id."""
    body = str(os.getpid()).encode()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]


def say(line):
    text = json.dumps({**line, "pid": os.getpid()}) + "\n"
    os.write(number("FLEET_OUTPUT_FD"), text.encode())


def hash_of(text):
    """FNV-1a: the same in each language, and does not show the token."""
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    return f"{state:016x}"


def true_expiry_ms(token):
    """Return when the emulator's token expires, by the emulator's own record."""
    claims = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return claims["layerfi_emulator"]["exp_ms"]


class Worker:
    def __init__(self):
        self.calls = self.failed = self.dead = self.slowest_ms = 0
        self.last = {}

    def call(self, what, function):
        """Call, record the outcome, and judge a token that was served."""
        wall_ms, began = time.time() * 1000, time.monotonic()
        token = error = None
        try:
            token = function()
        except LayerAuthError as failed:
            error = failed
        took = round((time.monotonic() - began) * 1000)
        self.calls += 1
        self.slowest_ms = max(self.slowest_ms, took)
        if took >= SLOW_MS:
            say({"slow": took})
        if error is not None:
            self.failed += 1
            sys.stderr.write(f"{what}: {error}\n")
            say({"failed": error.kind, "what": what})
        elif what != "whoami":
            self.judge(what, token, wall_ms, took)

    def judge(self, what, token, wall_ms, took):
        secret = token.secret
        # The same text as before does not expire earlier.
        if self.last.get(what, (None,))[0] != secret:
            self.last[what] = secret, true_expiry_ms(secret)
            at_ms = round(wall_ms)
            say({what: hash_of(secret), "took_ms": took, "at_ms": at_ms})
        expiry = self.last[what][1]
        late = max(wall_ms, token.expires_at.timestamp() * 1000) - expiry
        if late >= CLOCK_TICK_MS:
            self.dead += 1
            say({"dead": round(late), "what": what})

    def run(self):
        say({"ready": "python"})
        # The end of the file.
        os.read(number("FLEET_START_FD"), 1)
        end = select.poll()
        end.register(number("FLEET_STOP_FD"), select.POLLIN)
        business = os.environ.get("FLEET_BUSINESS")
        round_ = 0
        while True:
            self.call("token", client.token)
            if business:
                self.call("business", lambda: client.business_token(business))
            if round_ % number("FLEET_WHOAMI_EVERY") == 0:
                self.call("whoami", client.whoami)
            round_ += 1
            if end.poll(number("FLEET_INTERVAL_MS")):
                break
        stats = client.stats()
        say(
            {
                "end": "python",
                "calls": self.calls,
                "failed_calls": self.failed,
                "dead_tokens": self.dead,
                "slowest_ms": self.slowest_ms,
                "token_requests": stats.token_requests,
                "mints": stats.mints,
                **{
                    name: getattr(stats, f"shared_{name}")
                    for name in ("adopted", "published", "waits", "alone", "rejected", "faults")
                    if hasattr(stats, f"shared_{name}")
                },
            }
        )


def work():
    try:
        Worker().run()
    except Exception:  # noqa: BLE001  # The fleet then misses the last line.
        traceback.print_exc()
    # The fleet ends gunicorn. If it no longer exists, nobody else does.
    time.sleep(20)
    os.kill(os.getppid(), signal.SIGTERM)


def post_worker_init(_worker):
    """Start the calls in a worker of gunicorn."""
    threading.Thread(target=work, daemon=True).start()
