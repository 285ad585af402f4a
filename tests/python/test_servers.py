"""B12, B13 and B27 with real servers: most make and use a client before they fork workers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import TIMEOUT, eventually, free_port
from layerfi_auth.testing import Emulator

WSGI = """
import json, os
from layerfi_auth import Client

client = Client.from_env()
client.token()  # In the master, before it forks: --preload.

def app(environ, start_response):
    if environ["PATH_INFO"] == "/whoami":
        client.whoami()
    body = json.dumps({"pid": os.getpid(), "token": hash(client.token().secret),
                       "left": client.token().remaining}).encode()
    start_response("200 OK", [("content-type", "application/json"),
                              ("content-length", str(len(body)))])
    return [body]
"""

ASGI = """
import json, os
from layerfi_auth import Client

client = Client.from_env()
client.token()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/whoami":
        await client.whoami_async()
    token = await client.token_async()
    body = json.dumps({"pid": os.getpid(), "token": hash(token.secret),
                       "left": token.remaining}).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"application/json"),
                            (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"""

# PyInstaller takes 20 s of a processor.
BUILD_TIMEOUT = 600
LIFETIME = 5.0
WORKERS = 4


@contextlib.contextmanager
def running(command, cwd, layer, log, environment=None):
    """Run a server in its own process group; kill it with all its workers at the end."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            # The same seed, so that all workers have the same hash of a token.
            env={**os.environ, **layer.env(), "PYTHONHASHSEED": "1", **(environment or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            code = process.wait(TIMEOUT)
            assert code in {0, -signal.SIGTERM}, f"exit code {code}: {log.read_text()}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())
    finally:
        connection.close()


def from_all_workers(port, path="/"):
    """Send requests until every worker has answered; return the last answer of each by pid."""
    answers = {}
    until = time.monotonic() + TIMEOUT
    while len(answers) < WORKERS:
        assert time.monotonic() < until, f"only {len(answers)} of {WORKERS} workers answered"
        answer = ask(port, path)
        answers[answer["pid"]] = answer
    return answers


def is_up(port, process, log):
    assert process.poll() is None, f"the server ended: {log.read_text()}"
    try:
        return ask(port, "/")
    except OSError:
        return False


GUNICORN = (sys.executable, "-W", "ignore::DeprecationWarning", "-m", "gunicorn")
# gunicorn 26 has no eventlet worker, so an older one is installed next to it.
OLDER_GUNICORN = Path(sys.prefix) / "gunicorn-with-eventlet"


def gunicorn_for(worker):
    """The environment of the gunicorn that has this kind of worker."""
    return {"PYTHONPATH": str(OLDER_GUNICORN)} if worker == "eventlet" else {}


def check_workers(layer, port, server, clients=1):
    """Check that workers share the tokens of ``clients`` clients, and then get their own."""
    answers = from_all_workers(port)
    assert server.pid not in answers
    assert len({answer["token"] for answer in answers.values()}) == clients
    requests = layer.count("token")
    assert requests == clients, f"{clients} clients sent {requests} token requests"
    # Workers make requests over their own connections.
    from_all_workers(port, "/whoami")
    assert layer.count("token") == clients
    # After a 401 each worker gets its own token, which lives a few seconds.
    layer.set_access_token_lifetime(LIFETIME)
    layer.revoke_all("access")
    first = {one["token"] for one in from_all_workers(port, "/whoami").values()}
    assert first.isdisjoint({answer["token"] for answer in answers.values()})

    # Each worker refreshes its token.
    def refreshed():
        return all(
            answer["token"] not in first and answer["left"] > 0
            for answer in from_all_workers(port).values()
        )

    eventually(refreshed)
    assert layer.count("token") > 1
    assert layer.counters()["endpoints"]["token"]["by_status"] == {"200": layer.count("token")}
    from_all_workers(port, "/whoami")


@pytest.mark.parametrize(
    ("kind", "worker", "source"),
    [
        ("sync", "sync", WSGI),
        ("gthread", "gthread", WSGI),
        ("gevent", "gevent", WSGI),
        ("eventlet", "eventlet", WSGI),
        ("uvicorn", "uvicorn_worker.UvicornWorker", ASGI),
    ],
)
def test_gunicorn_preload(layer, tmp_path, kind, worker, source):
    (tmp_path / "shop.py").write_text(source)
    port, log = free_port(), tmp_path / "log"
    threads = ["--threads", "4"] if kind == "gthread" else []
    command = [
        *(*GUNICORN, "--preload", "--workers", str(WORKERS)),
        *("--worker-class", worker, *threads, "--bind", f"127.0.0.1:{port}"),
        *("--worker-tmp-dir", str(tmp_path), "--graceful-timeout", "5", "shop:app"),
    ]
    with running(command, tmp_path, layer, log, gunicorn_for(worker)) as server:
        eventually(lambda: is_up(port, server, log))
        check_workers(layer, port, server)


GREENLETS = """
import json, os
from layerfi_auth import Client

client = Client.from_env()
if os.environ.get("PRELOAD"):
    client.token()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/token":
        client.invalidate(client.token())
        client.token()
    elif path == "/whoami":
        client.whoami()
    body = json.dumps({"pid": os.getpid()}).encode()
    start_response("200 OK", [("content-type", "application/json"),
                              ("content-length", str(len(body)))])
    return [body]
"""


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "no_preload"])
@pytest.mark.parametrize("worker", ["gevent", "eventlet"])
def test_b12_one_gunicorn_worker_with_greenlets_serves_many_waiting_requests(
    layer, tmp_path, worker, preload
):
    (tmp_path / "shop.py").write_text(GREENLETS)
    port, log = free_port(), tmp_path / "log"
    command = [
        *GUNICORN,
        *(["--preload"] if preload else []),
        *("--workers", "1", "--worker-class", worker, "--bind", f"127.0.0.1:{port}"),
        *("--worker-tmp-dir", str(tmp_path), "--graceful-timeout", "5", "shop:app"),
    ]
    environment = {"PRELOAD": "1" if preload else "", **gunicorn_for(worker)}
    with running(command, tmp_path, layer, log, environment) as server:
        eventually(lambda: is_up(port, server, log))
        assert layer.count("token") == int(preload)
        ask(port, "/whoami")
        assert layer.count("token") == 1
        with ThreadPoolExecutor(20) as pool:
            try:
                layer.fault("whoami", hold=True, times="forever")
                waiting = [pool.submit(ask, port, "/whoami") for _ in range(20)]
                # All at once, in one thread of one process.
                eventually(lambda: layer.count("whoami") == 21)
                assert ask(port, "/") == {"pid": ask(port, "/")["pid"]}
                layer.clear_faults()
                layer.release()
                assert len({one.result(TIMEOUT)["pid"] for one in waiting}) == 1
                layer.fault("token", hold=True)
                waiting = [pool.submit(ask, port, "/token") for _ in range(20)]
                eventually(lambda: layer.count("token") == 2)
                ask(port, "/")
                layer.release()
                for one in waiting:
                    one.result(TIMEOUT)
            finally:
                # Also if something above failed, so that the pool can end.
                layer.clear_faults()
                layer.release()


CELERY = """
import os, time
from celery import Celery
from layerfi_auth import Client
from layerfi_auth.testing import BUSINESS_ID

client = Client.from_env()
client.token()

app = Celery("shop", broker="filesystem://", backend="file://" + os.environ["RESULTS"])
app.conf.broker_transport_options = {
    "data_folder_in": os.environ["QUEUE"], "data_folder_out": os.environ["QUEUE"],
}
app.conf.broker_connection_retry_on_startup = True

@app.task(name="shop.limited", soft_time_limit=1)
def limited():
    from celery.exceptions import SoftTimeLimitExceeded
    started = time.monotonic()
    try:
        client.mint_business_token(BUSINESS_ID)
    except SoftTimeLimitExceeded:
        return time.monotonic() - started

@app.task(name="shop.work")
def work(number):
    import asyncio
    client.whoami()
    asyncio.run(client.whoami_async())
    return os.getpid(), hash(client.token().secret)
"""


def test_celery_prefork(layer, tmp_path):
    (tmp_path / "shop.py").write_text(CELERY)
    (tmp_path / "send.py").write_text(
        "import json, shop\n"
        "sent = [shop.work.delay(n) for n in range(24)]\n"
        "results = [one.get(timeout=100, interval=0.05) for one in sent]\n"
        "limited = shop.limited.delay().get(timeout=100, interval=0.05)\n"
        "print(json.dumps([results, limited]))\n"
    )
    layer.fault("auth_token", hold=True)
    for name in ("queue", "results"):
        (tmp_path / name).mkdir()
    log = tmp_path / "log"
    command = [
        *(sys.executable, "-m", "celery", "-A", "shop", "worker", "--pool", "prefork"),
        *("--concurrency", "3", "--loglevel", "WARNING", "--without-gossip"),
        *("--without-mingle", "--without-heartbeat"),
    ]
    folders = {"QUEUE": str(tmp_path / "queue"), "RESULTS": str(tmp_path / "results")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in folders.items():
            patch.setenv(name, value)
        patch.setenv("C_FORCE_ROOT", "1")
        with running(command, tmp_path, layer, log):
            done = subprocess.run(
                [sys.executable, "send.py"],
                cwd=tmp_path,
                env={**os.environ, **layer.env(), "PYTHONHASHSEED": "1"},
                capture_output=True,
                text=True,
                timeout=2 * TIMEOUT,
                check=False,
            )
            assert done.returncode == 0, f"{done.stderr}; the worker's log: {log.read_text()}"
    results, limited = json.loads(done.stdout)
    # The soft time limit is a signal, and ends the call long before its timeout.
    assert limited < 20, f"a soft time limit of 1 s ended a call after {limited} s"
    assert len(results) == 24
    assert len({token for _, token in results}) == 1
    # One by the worker's main process and one by the sender, which imports the module too.
    assert layer.count("token") == 2


@pytest.mark.parametrize(
    "options",
    [[], ["--threads", "4"], ["--lazy-apps"]],
    ids=["preload", "threads", "lazy_apps"],
)
def test_b13_uwsgi(layer, tmp_path, options):
    """uWSGI forks in C, and by default runs none of Python's fork handlers."""
    (tmp_path / "shop.py").write_text(WSGI)
    port, log = free_port(), tmp_path / "log"
    command = [
        *(Path(sys.prefix) / "bin" / "uwsgi", "--http-socket", f"127.0.0.1:{port}"),
        *("--master", "--processes", str(WORKERS), "--die-on-term", "--virtualenv", sys.prefix),
        *("--wsgi-file", "shop.py", "--callable", "app", *options),
    ]
    with running(command, tmp_path, layer, log) as server:
        eventually(lambda: is_up(port, server, log))
        # With --lazy-apps each worker makes its own client.
        check_workers(layer, port, server, WORKERS if "--lazy-apps" in options else 1)


# Prints one line for each call, and ends during a request.
FROZEN = """
import asyncio, importlib, sys
from layerfi_auth import Client

client = Client.from_env(proxy=False)
print(client.whoami().client_name)
print(asyncio.run(client.whoami_async()).client_name)
# Modules that only the native module imports.
importlib.import_module("layerfi_auth." + "_greenlets")
try:
    client.business_token(7)
except TypeError:
    print("TypeError")
held = client.business_tokens(["3fa85f64-5717-4562-b3fc-2c963f66afa6"])
sys.exit(3)
"""


def build_frozen(home):
    """Build a program of one file with PyInstaller."""
    (home / "shop.py").write_text(FROZEN)
    # Packages of the tests that the program does not need make the build slow.
    excluded = [
        "--exclude-module=" + name for name in ("pytest", "trio", "setuptools", "gevent")
    ]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller", "--onefile", "--log-level=ERROR", *excluded),
            "shop.py",
        ],
        cwd=home,
        env={**os.environ, "PYINSTALLER_CONFIG_DIR": str(home / "cache")},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return home / "dist" / "shop"


@pytest.mark.timeout(BUILD_TIMEOUT + 300)
def test_b25_b27_program_of_pyinstaller_gets_tokens_over_tls(tmp_path):
    """Root certificates come from a file or the system, not from the program's own file."""
    frozen = build_frozen(tmp_path)
    with Emulator(rate_limit=None, tls=True) as layer:
        layer.fault("auth_token", hold=True, times="forever")
        (tmp_path / "roots.pem").write_text(layer.ca_pem)
        system = {"LAYER_CA_FILE": "", "SSL_CERT_FILE": str(tmp_path / "roots.pem")}
        for number, roots in enumerate([{}, system], 1):
            done = subprocess.run(
                [frozen],
                cwd=tmp_path,
                env={**os.environ, **layer.env(), **roots},
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
            assert done.returncode == 3, f"exit code {done.returncode}: {done.stderr}"
            assert done.stdout.splitlines() == ["Layer Example", "Layer Example", "TypeError"]
            assert layer.count("token") == number
