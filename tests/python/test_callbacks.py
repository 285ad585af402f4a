"""Functions of the program's own that fail, hang or lie: providers and handlers of the log."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import pickle
import threading
import time
import traceback

import pytest

from conftest import PATIENCE, eventually, run_python
from layerfi_auth import CredentialsError, LayerAuthError, RequestTimeoutError
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET

CANARY = "canary-of-a-vault"


def settled(call):
    """Call until something comes of it, and give that."""
    answers = []
    eventually(lambda: answers.append(call()) or answers[-1] is not None)
    return answers[-1]


def shown(error: LayerAuthError) -> str:
    """All that is ours of an exception."""
    return f"{error} {error!r} {error.args} {vars(error)} {getattr(error, '__notes__', '')}"


class VaultError(Exception):
    """Says what it should not."""

    def __init__(self) -> None:
        super().__init__(f"cannot log in with {CANARY}")


def raises():
    raise VaultError


def ends():
    raise SystemExit(CANARY)


class Surly:
    """No tuple, and whoever looks closer gets an error."""

    def __getattr__(self, name):
        raise VaultError

    def __iter__(self):
        raise VaultError

    def __repr__(self):
        raise VaultError


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        (raises, "it raised VaultError"),
        (ends, "it raised SystemExit"),
        (lambda: CANARY, "did not return"),
        (lambda: None, "did not return"),
        (lambda: (CANARY,), "did not return"),
        (lambda: [CLIENT_ID, CANARY], "did not return"),
        (lambda: (CLIENT_ID, CANARY.encode()), "did not return"),
        (lambda: (CLIENT_ID, f"{CANARY}\ud800"), "did not return"),
        (lambda: (CLIENT_ID, CANARY, CANARY), "did not return"),
        (lambda: (CLIENT_ID, f"{CANARY}\n"), "control character"),
        (lambda: (CLIENT_ID, ""), "empty"),
        (lambda: Surly(), "did not return"),
        (lambda _: CANARY, "it raised TypeError"),
    ],
)
@pytest.mark.parametrize("how", ["blocking", "async"])
def test_b20_b23_a_provider_that_fails(layer, caplog, provider, told, how):
    caplog.set_level(1, "layerfi_auth")
    answers = [provider]
    client = layer.client(credentials=lambda: answers[0](), client_id=None, max_attempts=1)
    with pytest.raises(LayerAuthError) as caught:
        client.token() if how == "blocking" else asyncio.run(client.token_async())
    error = caught.value
    assert told in str(error)
    if CANARY in shown(error):
        pytest.fail("our error shows what the provider said")
    # What it raised is there for whoever wants to know, as its own words.
    raised = provider in (raises, ends)
    assert isinstance(error.__cause__, (VaultError, SystemExit)) == raised
    assert (CANARY in "".join(traceback.format_exception(error))) == raised
    # Causes are not pickled, and so go into no queue.
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    # And the client is as it was.
    answers[0] = lambda: (CLIENT_ID, CLIENT_SECRET)
    token = []

    def healed():
        try:
            token.append(client.token())
        except LayerAuthError:
            return False
        return True

    eventually(healed)
    assert client.whoami().client_name
    eventually(lambda: any("a new access token" in r.getMessage() for r in caplog.records))
    if any(CANARY in f"{record.getMessage()} {vars(record)}" for record in caplog.records):
        pytest.fail("the log shows what the provider said")


def test_b20_a_provider_that_fails_behind_the_callers(layer, caplog):
    """A refresh in the background: there is only the log to tell."""
    caplog.set_level(1, "layerfi_auth")
    layer.set_access_token_lifetime(6)
    answers = [lambda: (CLIENT_ID, CLIENT_SECRET)]
    client = layer.client(credentials=lambda: answers[0](), client_id=None, max_attempts=1)
    client.token()
    answers[0] = raises

    def warned():
        client.token()
        return any("a refresh failed" in record.getMessage() for record in caplog.records)

    eventually(warned, 6)
    text = " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "it raised VaultError" in text
    if CANARY in text:
        pytest.fail("the log shows what the provider said")


def test_all_who_wait_get_the_providers_exception(layer):
    begin = threading.Event()

    def slow():
        begin.wait(PATIENCE)
        raise VaultError

    client = layer.client(credentials=slow, client_id=None, max_attempts=1)

    async def scene():
        calls = [asyncio.ensure_future(client.token_async()) for _ in range(5)]
        await asyncio.sleep(0.1)
        begin.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = asyncio.run(scene())
    assert {type(error) for error in errors} == {CredentialsError}
    assert {type(error.__cause__) for error in errors} == {VaultError}
    assert len({id(error) for error in errors}) == 5


def test_a_providers_failure_is_forgotten_when_it_is_mended(layer):
    """Its traceback holds the provider's variables."""

    class Mine(Exception):
        pass

    def fails():
        raise Mine

    answers = [fails]
    client = layer.client(credentials=lambda: answers[0](), client_id=None, max_attempts=1)

    def failures():
        gc.collect()
        return sum(isinstance(one, Mine) for one in gc.get_objects())

    with contextlib.suppress(CredentialsError):
        client.token()
    assert failures() == 1
    answers[0] = lambda: (CLIENT_ID, CLIENT_SECRET)

    def healed():
        try:
            return client.token()
        except CredentialsError:
            return False

    eventually(healed)
    assert failures() == 0


def test_b08_a_provider_that_hangs_is_a_timeout_and_costs_few_threads(layer):
    stuck = threading.Event()
    hanging = []
    hangs = [True]

    def vault():
        if hangs[0]:
            hanging.append(None)
            stuck.wait(PATIENCE)
        return CLIENT_ID, CLIENT_SECRET

    client = layer.client(credentials=vault, client_id=None, timeout=0.1, max_attempts=1)

    def outcome():
        started = time.monotonic()
        try:
            return client.token()
        except (RequestTimeoutError, CredentialsError) as error:
            return error
        finally:
            assert time.monotonic() - started < 2

    def heals():
        answer = outcome()
        return None if isinstance(answer, RequestTimeoutError) else answer

    try:
        while True:
            # A few at a time: it is asked less and less often.
            some = len(hanging) + 4
            while len(hanging) < some:
                assert isinstance(outcome(), RequestTimeoutError)
                time.sleep(0.01)
            # The next one does not wait for those.
            hangs[0] = False
            answer = settled(heals)
            if isinstance(answer, CredentialsError):
                break
            assert client.invalidate(answer)
            hangs[0] = True
        assert "16 earlier calls of it have not returned" in str(answer)
        assert len(hanging) == 16
        # Others are not held up: neither by it nor by its threads.
        assert layer.client().whoami()
    finally:
        stuck.set()
    eventually(lambda: not isinstance(outcome(), LayerAuthError))


def test_a_provider_may_call_a_client(layer):
    """Such as one that asks another Layer client, or this one by mistake."""
    other = layer.client()
    client = layer.client(
        credentials=lambda: (other.whoami() and CLIENT_ID, CLIENT_SECRET), client_id=None
    )
    assert client.token()

    def asks_itself():
        return own.token().secret, ""

    own = layer.client(credentials=asks_itself, client_id=None, timeout=0.5, max_attempts=1)
    with pytest.raises(LayerAuthError):
        own.token()


ENDS_MEANWHILE = """
import logging, sys, threading, time
from layerfi_auth import Client, LayerAuthError

def busy():
    # Takes the GIL again and again: also when Python ends those who do.
    while True:
        time.sleep(0.0001)

class Slow(logging.Handler):
    def createLock(self):
        self.lock = None  # Else `logging` waits for it at the end.

    def emit(self, record):
        busy()

if {provider}:
    client = Client.from_env(
        credentials=busy, client_id=None, client_secret=None, proxy=False, timeout=0.2
    )
    try:
        client.token()
    except LayerAuthError as error:
        print(type(error).__name__)
else:
    logging.getLogger("layerfi_auth").addHandler(Slow())
    logging.getLogger("layerfi_auth").setLevel(1)
    print(type(Client.from_env(proxy=False).token()).__name__)
"""


@pytest.mark.parametrize("provider", [True, False], ids=["provider", "handler"])
def test_b23_the_interpreter_ends_while_the_programs_function_runs(layer, provider):
    """Python ends their threads then, and unwinds the stack: no frame of Rust survives it."""
    env = layer.env()
    if provider:
        env["LAYER_CLIENT_SECRET"] = env["LAYER_CLIENT_ID"] = ""
    for _ in range(3):
        started = time.monotonic()
        told = run_python(ENDS_MEANWHILE.format(provider=provider), layer, **env).strip()
        assert told == ("RequestTimeoutError" if provider else "AccessToken")
        assert time.monotonic() - started < 10
        if not provider:
            break  # The end waits two seconds for it.


def test_b20_b23_handlers_that_fail(layer, capsys):
    """They cost their own record, and show nothing of ours."""
    kept = []

    class Raises(logging.Handler):
        def emit(self, record):
            raise RuntimeError("no disk")

    class Ends(logging.Handler):
        def emit(self, record):
            raise SystemExit

    class Formats(logging.StreamHandler):
        """As `logging` has it: `handleError` prints, with the frames' variables near."""

        def format(self, record):
            raise ValueError("no format")

    class Keeps(logging.Handler):
        def emit(self, record):
            kept.append(record.getMessage())

    logger = logging.getLogger("layerfi_auth")
    before = logger.level
    token = None
    try:
        logger.setLevel(1)
        for handlers in ([Raises()], [Ends()], [Formats(io.StringIO())], [Keeps()]):
            for handler in handlers:
                logger.addHandler(handler)
            try:
                client = layer.client()
                token = client.token()
                assert client.invalidate(token)
                assert asyncio.run(client.whoami_async())
                if isinstance(handlers[0], Keeps):
                    eventually(lambda: any("a new access token" in text for text in kept))
                else:
                    time.sleep(0.1)
            finally:
                for handler in handlers:
                    logger.removeHandler(handler)
    finally:
        logger.setLevel(before)
    text = "".join(capsys.readouterr())
    assert "no format" in text
    if token.secret in text or CLIENT_SECRET in text:
        pytest.fail("standard error shows a secret")


def test_where_greenlets_took_the_place_of_threads(layer):
    """As gevent does it: then there is only a thread of the engine's own to call from."""
    told = run_python(
        """
import _thread, logging, sys

def spawn(function, args, kwargs={}):
    raise AssertionError("a greenlet of a loop that never runs")

_thread.start_new_thread = spawn
logging.basicConfig(level=1, stream=sys.stdout)
from layerfi_auth import Client
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET
client = Client.from_env(
    credentials=lambda: (CLIENT_ID, CLIENT_SECRET), client_secret=None, proxy=False
)
import asyncio
print(asyncio.run(client.whoami_async()).client_name)
""",
        layer,
    )
    assert "Layer Example" in told
    assert "a new access token" in told
