"""B20: tracebacks with variables, as error trackers report them, show no secret.

No variable of a frame of the package holds a header or a token as text, at any line.
docs/python.md lists what variables of other libraries hold.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import threading

import pytest

import secret_scanner
from conftest import BUSINESS, TIMEOUT, business, eventually
from layerfi_auth import LayerAuthError
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET


@pytest.fixture
def secrets():
    secrets = secret_scanner.Secrets()
    secrets.add_credentials(CLIENT_ID, CLIENT_SECRET)
    return secrets


def is_package_code(code):
    return code.co_filename.startswith(secret_scanner.PACKAGE)


def check(secrets, error):
    """Check an exception and all its frames except those of this file."""
    secrets.check("the exception", secret_scanner.of_exception(error))
    secrets.check("the traceback", secret_scanner.with_variables(error, skip=__file__))
    for frame in secret_scanner.frames(error):
        if is_package_code(frame.f_code):
            secrets.check(frame.f_code.co_name, secret_scanner.variables_of(frame))


async def error_of(coroutine):
    with pytest.raises(LayerAuthError) as caught:
        await coroutine
    return caught.value


def failing_calls(client):
    return {
        "token": lambda: client.token_async(timeout=0.3),
        "authorization": lambda: client.authorization_async(timeout=0.3),
        "whoami": lambda: client.whoami_async(timeout=0.3),
        "business_token": lambda: client.business_token_async(BUSINESS, timeout=0.3),
        "mint": lambda: client.mint_business_token_async(BUSINESS, timeout=0.3),
        "id": lambda: client.business_token_async("no id"),
        "timeout": lambda: client.whoami_async(timeout=-1),
    }


def break_everything(layer):
    """Return errors that contain secrets, then hold all requests."""
    echo = {
        "error": "invalid_grant",
        "error_description": "canary",
        "access_token": "canary",
        "errors": [{"error_enum": "NOT_FOUND", "description": "canary"}],
    }
    for endpoint in ("token", "whoami", "auth_token"):
        layer.fault(endpoint, status=400, body=echo)
        layer.fault(endpoint, hold=True, times="forever")


@pytest.mark.parametrize("has_token", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("runner", ["asyncio", "trio"])
def test_b20_failed_async_calls_show_no_secret(layer, secrets, runner, has_token):
    client = layer.client(max_attempts=1)
    if has_token:
        client.authorization()
    break_everything(layer)

    async def scene():
        for name, call in failing_calls(client).items():
            if has_token and name in ("token", "authorization"):
                continue
            for _ in range(2):
                check(secrets, await error_of(call()))

    try:
        if runner == "trio":
            importlib.import_module("trio").run(scene)
        else:
            asyncio.run(scene(), debug=True)
    finally:
        layer.release()


def test_b20_failed_blocking_calls_and_batches_show_no_secret(layer, secrets):
    client = layer.client(max_attempts=1, timeout=0.3)
    client.authorization()
    break_everything(layer)

    def generator():
        with client:
            for one in client.business_tokens([BUSINESS, business(2)]):
                if isinstance(one, LayerAuthError):
                    raise one
                yield one

    calls = [
        client.whoami,
        lambda: client.business_token(BUSINESS),
        lambda: client.mint_business_token(BUSINESS),
        lambda: client.business_token("no id"),
        lambda: list(generator()),
    ]
    try:
        for call in calls:
            with pytest.raises(LayerAuthError) as caught:
                call()
            check(secrets, caught.value)
    finally:
        layer.release()


def test_b20_asyncio_debug_mode_shows_no_secret(layer, secrets, caplog):
    """Debug mode logs each step of a task with its arguments, and its result.

    A result that is a `str` is shown with its beginning and end, as docs/python.md says.
    """
    caplog.set_level(1)
    client = layer.client(max_attempts=1)
    contexts, shown = [], []

    async def scene():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        waiting = asyncio.ensure_future(client.token_async())
        coroutine = client.token_async()
        await asyncio.sleep(0)
        shown.extend([repr(waiting), repr(coroutine), *map(repr, waiting.get_stack())])
        await coroutine
        await waiting
        await client.business_token_async(BUSINESS)
        shown.append(repr(asyncio.ensure_future(client.token_async())))
        layer.fault("whoami", status=400, body={"errors": [{"description": "canary"}]})
        lost = asyncio.ensure_future(client.whoami_async())
        await asyncio.wait([lost])
        shown.append(repr(lost))
        del lost
        # A call whose task is no longer referenced, and one that is cancelled.
        layer.fault("whoami", hold=True)
        cancelled = asyncio.ensure_future(client.whoami_async())
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        shown.append(repr(cancelled))
        loop.call_exception_handler({"message": "mine", "token": await client.token_async()})

    asyncio.run(scene(), debug=True)
    layer.release()
    assert len(contexts) == 2
    for context in contexts:
        secrets.check("the context", " ".join(map(secret_scanner.deep_repr, context.values())))
        if "exception" in context:
            check(secrets, context["exception"])
    secrets.check("a task's repr", " ".join(shown))
    texts = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    # The step that passes a token to the loop was logged.
    assert any("settle(<AccessToken" in text for text in texts)
    secrets.check("the log", " ".join(texts))


class Watcher:
    """Checks the variables of the package's frames at every line that runs.

    An interrupt, a timeout or a debugger may stop at any of them.
    """

    def __init__(self, secrets):
        self.secrets = secrets
        self.seen = []
        self.functions = set()
        self.done = False

    def __call__(self, frame, event, arg):
        if self.done:
            # On a worker thread, which continues after the test.
            sys.settrace(None)
            frame.f_trace = None
            return None
        code = frame.f_code
        # The emulator's helpers have its secret, which is public.
        if not is_package_code(code) or code.co_filename.endswith("testing.py"):
            return None
        frame.f_trace_lines = True
        self.functions.add(code.co_name)
        what = self.secrets.found_in(secret_scanner.variables_of(frame))
        if what is not None:
            self.seen.append((what, code.co_name, frame.f_lineno))
        return self

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)

    def check(self, *functions):
        self.done = True
        assert self.seen == []
        assert self.functions >= set(functions), f"only {self.functions} were checked"


def test_b20_no_variable_of_the_package_holds_a_secret(layer, secrets):
    client = layer.client()

    async def scene():
        for _ in range(2):
            await client.authorization_async()
            client.invalidate(await client.token_async())
            await client.token_async()
            await client.whoami_async()
            for_browser = await client.business_token_async(BUSINESS)
            await client.mint_business_token_async(BUSINESS)
            for_browser.to_dict()
            async for one in client.business_tokens([BUSINESS, business(1)]):
                assert one.secret

    with Watcher(secrets) as watcher:
        asyncio.run(scene())
        importlib.import_module("trio").run(scene)
        with client:
            list(client.business_tokens([BUSINESS]))
    watcher.check(
        "authorization_async", "await_call", "_await_call_in_trio", "settle", "__next__"
    )


def test_b20_no_variable_of_the_worker_threads_holds_a_secret(layer, secrets):
    watcher = Watcher(secrets)

    def watch():
        frame = sys._getframe(1)
        while frame is not None:
            frame.f_trace = watcher
            frame = frame.f_back
        sys.settrace(watcher)

    def vault():
        watch()
        return CLIENT_ID, CLIENT_SECRET

    arrived = threading.Event()

    def post(settle, value, error):
        watch()
        posted.append((value, error))
        (arrived if len(posted) == 2 else threading.Event()).set()

    posted = []
    client = layer.client(credentials=vault, client_id=None)
    calls = [client._start_token(post, print, None) for _ in range(2)]
    assert arrived.wait(TIMEOUT)
    assert [error for _, error in posted] == [None, None]
    del calls
    # A function that has passed its result on may still be about to return.
    eventually(lambda: watcher.functions >= {"ask_provider", "run_worker"})
    watcher.check("ask_provider", "run_worker")
    # One more job, during which the worker thread stops tracing.
    asyncio.run(client.whoami_async())


def test_watcher_finds_a_secret_in_a_variable(secrets):
    def careless(token):
        header = f"Bearer {token}"
        return len(header)

    path = f"{secret_scanner.PACKAGE}/careless.py"
    careless.__code__ = careless.__code__.replace(co_filename=path)
    with Watcher(secrets) as watcher:
        careless("eyJhbGciOiJFUzI1NiJ9")
    assert ("token", "careless") in {(what, name) for what, name, _ in watcher.seen}


def httpx_blocking(client, url):
    import httpx

    from layerfi_auth.auth import HttpxAuth

    with httpx.Client(auth=HttpxAuth(client), trust_env=False) as session:
        session.get(url).raise_for_status()


def httpx_async(client, url):
    import httpx

    from layerfi_auth.auth import HttpxAuth

    async def call():
        async with httpx.AsyncClient(auth=HttpxAuth(client), trust_env=False) as session:
            (await session.get(url)).raise_for_status()

    asyncio.run(call(), debug=True)


def with_requests(client, url):
    import requests

    from layerfi_auth.auth import RequestsAuth

    with requests.Session() as session:
        session.trust_env = False
        session.auth = RequestsAuth(client)
        session.get(url).raise_for_status()


def with_aiohttp(client, url):
    import aiohttp

    from layerfi_auth.auth import aiohttp_middleware

    async def call():
        middlewares = (aiohttp_middleware(client),)
        async with (
            aiohttp.ClientSession(middlewares=middlewares) as session,
            session.get(url) as answer,
        ):
            await answer.read()
            answer.raise_for_status()

    asyncio.run(call(), debug=True)


LIBRARIES = {
    httpx_blocking: "httpx",
    httpx_async: "httpx",
    with_requests: "requests",
    with_aiohttp: "aiohttp",
}


@pytest.fixture(params=LIBRARIES, ids=lambda send: send.__name__)
def send(request):
    pytest.importorskip(LIBRARIES[request.param])
    return request.param


@pytest.mark.parametrize("first", [None, 401], ids=["at_once", "after_a_401"])
@pytest.mark.parametrize("wire", [{"close": "before"}, {"close": "mid_body"}, None])
def test_b20_failed_http_request_shows_no_secret(layer, client, secrets, send, first, wire):
    """In the transport, in the response, and in the second attempt."""
    if first:
        layer.fault("whoami", status=first)
    if wire:
        layer.fault("whoami", wire=wire, times="forever")
    else:
        layer.fault("whoami", status=500, body="canary", times="forever")
    with Watcher(secrets) as watcher, pytest.raises(Exception) as caught:
        send(client, f"{layer.url}/whoami")
    watcher.check("allowed_origins")
    frames = [one for one in secret_scanner.frames(caught.value) if is_package_code(one.f_code)]
    for frame in frames:
        secrets.check(frame.f_code.co_name, secret_scanner.variables_of(frame))
    # Two libraries show the header, as docs/python.md says: the `repr` of aiohttp's errors
    # contains the request's headers, and so does a variable in urllib3's frames.
    exception = secret_scanner.of_exception(caught.value)
    if send is with_aiohttp and wire is None:
        assert secrets.found_in(exception) == "token"
        secrets.check("its text", str(caught.value))
        return
    secrets.check("the exception", exception)
    variables = " ".join(
        map(secret_scanner.variables_of, secret_scanner.frames(caught.value, skip=__file__))
    )
    if send is with_requests and wire == {"close": "before"}:
        assert secrets.found_in(variables) == "token"
    else:
        secrets.check("a frame of the library", variables)


def test_b20_suspended_httpx_flow_holds_no_header(layer, client, secrets):
    """The generator's variables between request and response."""
    httpx = pytest.importorskip("httpx")
    from layerfi_auth.auth import HttpxAuth

    request = httpx.Request("GET", f"{layer.url}/whoami")
    flow = HttpxAuth(client).sync_auth_flow(request)
    sent = next(flow)
    assert sent.headers["Authorization"].startswith("Bearer ")
    secrets.check("the flow", secret_scanner.variables_of(flow.gi_frame))
    assert inspect.getgeneratorlocals(flow)["request"] is request
    flow.close()


def test_b20_pytest_showlocals_shows_no_secret(pytester):
    """As a user's CI prints it."""
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        def test_blocking(layer_emulator, layer_client):
            token = layer_client.token()
            layer_emulator.fault("whoami", status=400, times="forever")
            for_browser = layer_client.business_token("3fa85f64-5717-4562-b3fc-2c963f66afa6")
            layer_client.whoami()

        def test_async(layer_emulator, layer_client):
            layer_emulator.fault("token", status=400, body={"error": "invalid_client"})
            asyncio.run(layer_client.authorization_async())

        def test_httpx(layer_emulator, layer_client):
            httpx = pytest.importorskip("httpx")
            from layerfi_auth.auth import HttpxAuth
            layer_emulator.fault("whoami", wire={"close": "before"}, times="forever")
            with httpx.Client(auth=HttpxAuth(layer_client), trust_env=False) as session:
                session.get(layer_emulator.url + "/whoami")
        """
    )
    result = pytester.runpytest_subprocess(
        "-p", "no:asyncio", "--showlocals", "--tb=long", "-vv", "--full-trace"
    )
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] + outcomes.get("skipped", 0) == 3
    secrets = secret_scanner.Secrets()
    secrets.add_credentials(CLIENT_ID, CLIENT_SECRET)
    assert any("[redacted]" in line for line in result.outlines)
    secrets.check("pytest", "\n".join(result.outlines + result.errlines))
