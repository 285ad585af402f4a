"""User functions that fail, hang or return wrong values: providers and log handlers."""

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

from conftest import TIMEOUT, eventually, run_python
from layerfi_auth import CredentialsError, LayerAuthError, RequestTimeoutError
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET

CANARY = "canary-of-a-vault"


def first_result(call):
    """Call until the result is not `None`, and return it."""
    answers = []
    eventually(lambda: answers.append(call()) or answers[-1] is not None)
    return answers[-1]


def shown(error: LayerAuthError) -> str:
    """All texts that the package puts into an exception."""
    return f"{error} {error!r} {error.args} {vars(error)} {getattr(error, '__notes__', '')}"


class VaultError(Exception):
    """Exception whose text contains a secret."""

    def __init__(self) -> None:
        super().__init__(f"cannot log in with {CANARY}")


def raises():
    raise VaultError


def ends():
    raise SystemExit(CANARY)


class Unusable:
    """Not a tuple; every use of it raises an exception."""

    def __getattr__(self, name):
        raise VaultError

    def __iter__(self):
        raise VaultError

    def __repr__(self):
        raise VaultError


async def asks_asynchronously():
    return CLIENT_ID, CANARY


@pytest.mark.filterwarnings("ignore:coroutine 'asks_asynchronously' was never awaited")
@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (raises, "it raised VaultError"),
        (ends, "it raised SystemExit"),
        (lambda: CANARY, "it returned a value of the type str, not (client_id, client_secret)"),
        (lambda: None, "it returned None, not (client_id, client_secret)"),
        (lambda: (CANARY,), "it returned a tuple of 1 (str), not "),
        (lambda: [CLIENT_ID, CANARY], "it returned a value of the type list, not "),
        (lambda: (CLIENT_ID, CANARY.encode()), "it returned a tuple of 2 (str, bytes), not "),
        (lambda: (CLIENT_ID, f"{CANARY}\ud800"), "it returned texts that are not valid"),
        (lambda: (CLIENT_ID, CANARY, CANARY), "it returned a tuple of 3 (str, str, str), not "),
        (asks_asynchronously, "it returned a coroutine (it must not be async), not "),
        (lambda: (CLIENT_ID, f"{CANARY}\n"), "line end"),
        (lambda: (CLIENT_ID, ""), "empty"),
        (lambda: Unusable(), "it returned a value of the type Unusable, not "),
        (lambda _: CANARY, "it raised TypeError"),
    ],
)
@pytest.mark.parametrize("how", ["blocking", "async"])
def test_b20_b23_failing_provider_raises_an_error_without_its_text(
    layer, caplog, provider, message, how
):
    caplog.set_level(1, "layerfi_auth")
    answers = [provider]
    client = layer.client(credentials=lambda: answers[0](), client_id=None, max_attempts=1)
    with pytest.raises(LayerAuthError) as caught:
        client.token() if how == "blocking" else asyncio.run(client.token_async())
    error = caught.value
    assert message in str(error)
    if CANARY in shown(error):
        pytest.fail("the error shows the provider's text")
    # The exception of the provider is the cause.
    raised = provider in (raises, ends)
    assert isinstance(error.__cause__, (VaultError, SystemExit)) == raised
    assert (CANARY in "".join(traceback.format_exception(error))) == raised
    # Pickles do not contain causes.
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    # The client stays usable.
    answers[0] = lambda: (CLIENT_ID, CLIENT_SECRET)
    token = []

    def recovered():
        try:
            token.append(client.token())
        except LayerAuthError:
            return False
        return True

    eventually(recovered)
    assert client.whoami().client_name
    eventually(lambda: any("got an access token" in r.getMessage() for r in caplog.records))
    if any(CANARY in f"{record.getMessage()} {vars(record)}" for record in caplog.records):
        pytest.fail("the log shows the provider's text")


def test_b20_provider_failing_in_a_background_refresh_is_logged_without_its_text(layer, caplog):
    """No caller waits for a background refresh, so the error is only logged."""
    caplog.set_level(1, "layerfi_auth")
    layer.set_access_token_lifetime(8)
    answers = [lambda: (CLIENT_ID, CLIENT_SECRET)]
    client = layer.client(credentials=lambda: answers[0](), client_id=None, max_attempts=1)
    client.token()
    answers[0] = raises

    def warned():
        client.token()
        return any("refresh failed" in record.getMessage() for record in caplog.records)

    eventually(warned)
    text = " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "it raised VaultError" in text
    if CANARY in text:
        pytest.fail("the log shows the provider's text")


def test_every_waiting_caller_gets_the_providers_exception(layer):
    begin = threading.Event()

    def slow():
        begin.wait(TIMEOUT)
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


@pytest.mark.parametrize("how", ["blocking", "async"])
@pytest.mark.parametrize("inner", ["blocking", "async", "whoami"])
def test_b27_provider_that_calls_its_own_client_is_told_so(layer, how, inner):
    """The call would wait for the provider, and the provider for the call."""

    def vault():
        if inner == "async":
            asyncio.run(client.token_async())
        else:
            client.token() if inner == "blocking" else client.whoami()

    client = layer.client(credentials=vault, client_id=None, max_attempts=1, timeout=3600)
    with pytest.raises(CredentialsError, match="it calls its own client, whose call waits"):
        client.token() if how == "blocking" else asyncio.run(client.token_async())


def test_provider_exception_is_released_after_a_success(layer):
    """Its traceback keeps the provider's variables alive."""

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

    def recovered():
        try:
            return client.token()
        except CredentialsError:
            return False

    eventually(recovered)
    assert failures() == 0


def test_b08_hanging_provider_times_out_and_takes_at_most_16_threads(layer):
    stuck = threading.Event()
    hanging = []
    hangs = [True]

    def vault():
        if hangs[0]:
            hanging.append(None)
            stuck.wait(TIMEOUT)
        return CLIENT_ID, CLIENT_SECRET

    client = layer.client(credentials=vault, client_id=None, timeout=0.1, max_attempts=1)

    def outcome():
        started = time.monotonic()
        try:
            return client.token()
        except (RequestTimeoutError, CredentialsError) as error:
            return error
        finally:
            took = time.monotonic() - started
            assert took < TIMEOUT, f"a call with a timeout of 0.1 s took {took:.1f} s"

    def recovers():
        answer = outcome()
        return None if isinstance(answer, RequestTimeoutError) else answer

    try:
        while True:
            # A few at a time: the engine calls it less and less often.
            some = len(hanging) + 4
            while len(hanging) < some:
                assert isinstance(outcome(), RequestTimeoutError)
                time.sleep(0.01)
            # The next call does not wait for the hanging ones.
            hangs[0] = False
            answer = first_result(recovers)
            if isinstance(answer, CredentialsError):
                break
            assert client.invalidate(answer)
            hangs[0] = True
        assert "16 earlier calls have not returned" in str(answer)
        assert len(hanging) == 16
        # Other clients are not delayed.
        assert layer.client().whoami()
    finally:
        stuck.set()
    eventually(lambda: not isinstance(outcome(), LayerAuthError))


def test_provider_may_call_a_client(layer):
    """Another client, or by mistake its own."""
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

started = []

def busy():
    # Takes the GIL again and again, also while Python ends threads that do.
    started.append(True)
    while True:
        time.sleep(0.0001)

class NoLock:
    def acquire(self):
        pass

    def release(self):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass

class Slow(logging.Handler):
    def createLock(self):
        self.lock = NoLock()  # Otherwise `logging` waits for it at exit.

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
# From 3.12 on, no thread starts once the interpreter ends: the main thread would call the
# handler.
while not started:
    time.sleep(0.001)
"""


@pytest.mark.parametrize("provider", [True, False], ids=["provider", "handler"])
def test_b23_interpreter_ends_while_a_user_function_runs(layer, provider):
    """Python ends their threads and unwinds the stack, which must have no frame of Rust."""
    env = layer.env()
    if provider:
        env["LAYER_CLIENT_SECRET"] = env["LAYER_CLIENT_ID"] = ""
    for _ in range(3):
        printed = run_python(ENDS_MEANWHILE.format(provider=provider), layer, **env).strip()
        assert printed == ("RequestTimeoutError" if provider else "AccessToken")
        if not provider:
            break  # The interpreter waits two seconds for it.


def test_b20_b23_failing_log_handler_loses_only_its_record(layer, capsys):
    """A handler that fails shows no secret and affects no other record."""
    kept = []

    class Raises(logging.Handler):
        def emit(self, record):
            raise RuntimeError("no disk")

    class Ends(logging.Handler):
        def emit(self, record):
            raise SystemExit

    class Formats(logging.StreamHandler):
        """`handleError` of `logging` prints a traceback."""

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
                    eventually(lambda: any("got an access token" in text for text in kept))
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


def test_calls_work_where_greenlets_replace_threads(layer):
    """As with gevent: user functions are then called on the engine's own threads."""
    printed = run_python(
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
    assert "Layer Example" in printed
    assert "got an access token" in printed
