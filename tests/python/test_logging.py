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
