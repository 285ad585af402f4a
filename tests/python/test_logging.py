"""The logger `layerfi_auth`: its records, slow handlers, and no secret."""

from __future__ import annotations

import logging
import threading
import time

from conftest import TIMEOUT, eventually, run_python
from layerfi_auth.testing import CLIENT_SECRET


def test_events_become_records(layer, caplog):
    caplog.set_level(logging.DEBUG, "layerfi_auth")
    layer.fault("token", status=503)
    before = time.time()
    token = layer.client().token()
    eventually(lambda: any("got an access token" in r.getMessage() for r in caplog.records))
    records = {r.getMessage(): r for r in caplog.records if r.name == "layerfi_auth"}
    text = "\n".join(records)
    assert "retrying" in text
    assert "503" in text
    assert token.secret not in text
    assert CLIENT_SECRET not in text
    record = next(r for message, r in records.items() if "got an access token" in message)
    assert record.levelno == logging.DEBUG
    assert before - 1 <= record.created <= time.time()
    assert record.pathname.endswith(".rs")
    assert record.lineno > 0


def test_b24_records_have_the_error_as_attributes(layer, caplog):
    caplog.set_level(logging.DEBUG, "layerfi_auth")
    layer.fault("token", status=429, headers={"x-request-id": "r-1", "retry-after": "0"})
    layer.client().token()
    eventually(lambda: any("got an access token" in r.getMessage() for r in caplog.records))
    records = [r for r in caplog.records if r.name == "layerfi_auth"]
    retried = next(r for r in records if "retrying" in r.getMessage())
    assert (retried.kind, retried.http_status, retried.request_id) == (
        "rate_limited",
        429,
        "r-1",
    )
    assert (retried.retryable, retried.attempts, retried.retry_after) == (True, 1, 0.0)
    assert retried.oauth_error is None
    assert retried.error in retried.getMessage()
    got = next(r for r in records if "got an access token" in r.getMessage())
    assert got.expires_in == 3600
    # A format with these names works for every record.
    text = logging.Formatter("%(threadName)s %(kind)s %(http_status)s %(attempts)s").format(got)
    assert text == "layerfi-auth None None None"
    # Attributes of every record stay as they are.
    assert {r.name for r in records} == {"layerfi_auth"}
    assert {r.threadName for r in records} == {"layerfi-auth"}
    assert all(r.args == (r.getMessage(),) for r in records)


def test_b20_token_in_a_log_call_loses_the_line_but_not_the_program():
    """`logging` reports that a line cannot be formatted, with the token's `repr`."""
    out = run_python(
        """
import logging, sys
from layerfi_auth.testing import Emulator
logging.basicConfig(stream=sys.stdout)
with Emulator() as layer:
    token = layer.client().token()
    logging.warning("got %s", token)
    logging.warning("got %r", token)
    print("secret" if token.secret in repr(token) else "end")
"""
    )
    assert "WARNING:root:got <AccessToken [redacted], expires at" in out
    assert "got <AccessToken" in out.splitlines()[-2]
    assert out.splitlines()[-1] == "end"


def test_call_starts_no_thread_for_debug_events_that_no_handler_wants():
    """The logger's level counts when a call starts, also if it was another one before."""
    out = run_python(
        """
import logging, time
from pathlib import Path
from layerfi_auth.testing import Emulator
def has_thread():
    names = (path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    return "layerfi-logging" in names
def is_recorded():
    layer.client().token()
    return has_thread()
logger = logging.getLogger("layerfi_auth")
with Emulator() as layer:
    found = [is_recorded()]
    logging.basicConfig(level=logging.INFO)
    found.append(is_recorded())
    logger.setLevel(logging.DEBUG)
    layer.client().token()
    while not has_thread():  # It names itself.
        time.sleep(0.01)
print(found)
"""
    )
    assert out == "[False, False]\n"


def test_failed_refresh_is_a_warning(layer, caplog):
    caplog.set_level(logging.WARNING, "layerfi_auth")
    layer.set_access_token_lifetime(8)
    client = layer.client(max_attempts=1)
    client.token()
    layer.fault("token", status=500, times="forever")

    def warned():
        client.token()
        return any("refresh failed" in record.getMessage() for record in caplog.records)

    eventually(warned)
    assert {r.levelname for r in caplog.records if r.name == "layerfi_auth"} == {"WARNING"}


def test_blocked_handler_delays_no_call(layer):
    stuck, entered = threading.Event(), threading.Event()

    class Stuck(logging.Handler):
        def emit(self, record):
            entered.set()
            stuck.wait(TIMEOUT)

    logger = logging.getLogger("layerfi_auth")
    handler = Stuck()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        client = layer.client()
        assert client.token()
        assert entered.wait(TIMEOUT)
        assert client.whoami()
        client.invalidate(client.token())
        assert client.token()
    finally:
        stuck.set()
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_handler_may_call_the_client(layer):
    client = layer.client()
    done = threading.Event()

    class Calls(logging.Handler):
        def emit(self, record):
            client.whoami()
            done.set()

    logger = logging.getLogger("layerfi_auth")
    handler = Calls()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        assert client.token()
        assert done.wait(TIMEOUT)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_queued_records_are_written_at_exit(layer):
    out = run_python(
        """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from layerfi_auth import Client
Client.from_env(proxy=False).token()
""",
        layer,
    )
    assert "DEBUG:layerfi_auth:got an access token" in out


def test_records_are_written_at_exit_when_their_thread_cannot_start(layer):
    """Python 3.12 starts no thread once the interpreter shuts down."""
    out = run_python(
        """
import _thread, logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from layerfi_auth import Client
_thread.start_new_thread = len  # Raises an error for two arguments.
Client.from_env(proxy=False).token()
""",
        layer,
    )
    assert "DEBUG:layerfi_auth:got an access token" in out


def test_program_without_logging_does_not_import_it(layer):
    out = run_python(
        """
import sys
from layerfi_auth import Client
Client.from_env(proxy=False).token()
print([name for name in ("logging", "asyncio", "typing", "datetime") if name in sys.modules])
""",
        layer,
    )
    assert out.strip() == "[]"
