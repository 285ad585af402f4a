"""B27: a program ends at once on every interpreter, also while calls or user functions run.

On Python 3.12 and earlier, the thread that first imports `threading` counts as the main thread,
and the interpreter waits for it at exit. Each program here runs in a new process that has not
imported `threading`, on each interpreter that is installed.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import layerfi_auth
from conftest import TIMEOUT
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET

VERSIONS = ["3.10", "3.11", "3.12", "3.13"]
PACKAGES = str(Path(layerfi_auth.__file__).parents[1])

# Without `site`, whose `.pth` files may import `threading`.
PROLOGUE = f"""
import sys, time
assert "threading" not in sys.modules, "the interpreter imports threading itself"
sys.path.insert(0, {PACKAGES!r})
"""

EPILOGUE = """
import threading
assert threading.main_thread() is threading.current_thread(), threading.main_thread()
print("end", flush=True)
"""

WAIT_FOR_WARNING = """
class Recorder:
    texts = []
    def write(self, text):
        self.texts.append(text)
        sys.__stderr__.write(text)
    def flush(self):
        pass

sys.stderr = Recorder()

def wait_for_warning(text):
    # Without handlers, `logging` prints warnings to standard error.
    until = time.monotonic() + 30
    while text not in "".join(Recorder.texts):
        assert time.monotonic() < until, "the warning is missing"
        time.sleep(0.05)
"""

FAILED_REFRESH = """
from layerfi_auth import Client
# The emulator answers only the first request, with a token that lives for 4 s.
client = Client.from_env(proxy=False, max_attempts=1, keep_warm=True)
client.token()
wait_for_warning("refresh failed")
"""

PROGRAMS = {
    "only_import": "import layerfi_auth",
    "a_token": """
from layerfi_auth import Client
Client.from_env(proxy=False).token()
""",
    "failed_refresh": FAILED_REFRESH,
    "failed_refresh_with_logging": "import logging" + FAILED_REFRESH,
    "unreadable_root_certificate": """
import os
from layerfi_auth import Client, LayerAuthError
os.environ["SSL_CERT_DIR"] = os.environ["CERTIFICATES"]
os.environ.pop("SSL_CERT_FILE", None)
client = Client.from_env(proxy=False, max_attempts=1, timeout=5)
# The server speaks no TLS. The engine reads the root certificates before it finds that out.
try:
    client.token()
except LayerAuthError:
    pass
wait_for_warning("broken.pem")
""",
    "provider_that_imports": """
from layerfi_auth import Client
def vault():
    import concurrent.futures, logging, threading, urllib.request
    assert threading.current_thread() is not threading.main_thread()
    return ID, SECRET
Client.from_env(client_id=None, credentials=vault, proxy=False).token()
""",
    "provider_that_hangs": """
from layerfi_auth import Client, LayerAuthError
def vault():
    import threading
    threading.Event().wait()
client = Client.from_env(client_id=None, credentials=vault, proxy=False, timeout=0.3)
try:
    client.token()
except LayerAuthError as error:
    print(type(error).__name__)
""",
    "provider_that_hangs_in_a_socket": """
from layerfi_auth import Client, LayerAuthError
def vault():
    import socket, urllib.request
    servers.append(socket.create_server(("127.0.0.1", 0)))
    urllib.request.urlopen("http://127.0.0.1:%d" % servers[0].getsockname()[1])
servers = []
client = Client.from_env(client_id=None, credentials=vault, proxy=False, timeout=0.3)
try:
    client.token()
except LayerAuthError as error:
    print(type(error).__name__)
# CPython may crash if it ends while another thread still loads modules. This one has sent its
# request, and waits for the answer.
while not servers:
    time.sleep(0.01)
stream, _ = servers[0].accept()
stream.recv(1)
time.sleep(0.1)
""",
    "provider_that_raises": """
from layerfi_auth import Client, LayerAuthError
def vault():
    import threading
    raise KeyError(threading.current_thread().name)
client = Client.from_env(client_id=None, credentials=vault, proxy=False, max_attempts=1)
try:
    client.token()
except LayerAuthError as error:
    print(type(error).__name__)
""",
    "log_handler_that_imports": """
import logging
from layerfi_auth import Client
class Imports(logging.Handler):
    def emit(self, record):
        import concurrent.futures, urllib.request, queue
logging.getLogger("layerfi_auth").addHandler(Imports())
logging.getLogger("layerfi_auth").setLevel(1)
Client.from_env(proxy=False).token()
""",
    "async_call": """
from layerfi_auth import Client
client = Client.from_env(proxy=False)
import asyncio
asyncio.run(client.token_async())
""",
    "batch_in_progress": """
from layerfi_auth import Client
client = Client.from_env(proxy=False)
batch = client.business_tokens(["3fa85f64-5717-4562-b3fc-2c963f66afa6"] * 10)
""",
    "imported_on_another_thread": """
import _thread
done = _thread.allocate_lock()
done.acquire()
def work():
    global client
    from layerfi_auth import Client
    client = Client.from_env(proxy=False)
    client.token()
    done.release()
    time.sleep(60)
_thread.start_new_thread(work, ())
# The main thread runs Python code here; it is not blocked in C.
while not done.acquire(False):
    time.sleep(0.01)
""",
    "imported_on_another_thread_while_the_main_thread_is_blocked": """
import _thread
done = _thread.allocate_lock()
done.acquire()
def work():
    from layerfi_auth import Client
    Client.from_env(proxy=False).token()
    done.release()
    time.sleep(60)
_thread.start_new_thread(work, ())
done.acquire()
""",
}


@functools.cache
def find_python(version):
    """Return the interpreter of a version: the current one, one of pyenv, or one in `PATH`."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = sorted(map(str, pyenv.glob(f"{version}.*/bin/python3")))
    candidates.append(shutil.which(f"python{version}") or "")
    if version == own:
        candidates = [sys.executable]
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    for python in filter(None, candidates):
        # A shim of pyenv may exist without its interpreter.
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return python
    return None


@pytest.fixture
def certificates(tmp_path):
    """A folder of root certificates with one that cannot be read."""
    (tmp_path / "broken.pem").symlink_to(tmp_path / "broken.pem")
    return str(tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_b27_program_that_never_imported_threading_ends_at_once(
    layer, certificates, version, name
):
    python = find_python(version)
    if python is None:
        pytest.skip(f"CPython {version} is not installed")
    if "failed_refresh" in name:
        layer.set_access_token_lifetime(4)
        layer.fault("token", status=500, times="forever", skip=1)
    env = {**os.environ, **layer.env(), "CERTIFICATES": certificates}
    if name == "unreadable_root_certificate":
        env["LAYER_AUTH_URL"] = env["LAYER_AUTH_URL"].replace("http://", "https://")
    if name.startswith("provider"):
        env["LAYER_CLIENT_SECRET"] = ""
    constants = f"ID, SECRET = {CLIENT_ID!r}, {CLIENT_SECRET!r}\n"
    program = PROLOGUE + WAIT_FOR_WARNING + constants + PROGRAMS[name] + EPILOGUE
    process = subprocess.Popen(
        [python, "-S", "-c", program],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        at = "at its end" if out.endswith("end\n") else "before its end"
        pytest.fail(f"the program hangs {at}; it printed {out!r} and {err!r}")
    assert process.returncode == 0, f"exit code {process.returncode}: {out!r}, {err!r}"
    assert out.endswith("end\n"), f"the program printed {out!r} and {err!r}"


IMPORTS = """
import os, sys, time
from _thread import get_native_id

foreign = []

def record(event, args):
    if event == "import" and get_native_id() != os.getpid():
        foreign.append(args[0])

sys.addaudithook(record)
from layerfi_auth import Client, LayerAuthError

class Raises:
    def __call__(self):
        raise KeyError

if LOGGING:
    import logging
    logging.getLogger("layerfi_auth").setLevel(1)
    logging.getLogger("layerfi_auth").addHandler(logging.NullHandler())

client = Client.from_env(proxy=False, max_attempts=1)
if ASYNC:
    import asyncio
    asyncio.run(client.token_async())
client.token()
client.whoami()
list(client.business_tokens(["3fa85f64-5717-4562-b3fc-2c963f66afa6", "no id"]))
for credentials in (lambda: (ID, SECRET), Raises()):
    try:
        Client.from_env(
            client_id=None,
            client_secret=None,
            credentials=credentials,
            proxy=False,
            max_attempts=1,
        ).token()
    except LayerAuthError:
        pass
time.sleep(0.3)
print(foreign)
"""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("with_async", [False, True], ids=["blocking", "async"])
@pytest.mark.parametrize("with_logging", [False, True], ids=["no_logging", "logging"])
def test_b27_no_module_is_imported_first_on_a_native_thread(
    layer, version, with_async, with_logging
):
    python = find_python(version)
    if python is None:
        pytest.skip(f"CPython {version} is not installed")
    constants = (
        f"ID, SECRET = {CLIENT_ID!r}, {CLIENT_SECRET!r}\n"
        f"ASYNC, LOGGING = {with_async}, {with_logging}\n"
    )
    done = subprocess.run(
        [python, "-S", "-c", PROLOGUE + constants + IMPORTS],
        env={**os.environ, **layer.env()},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    imported = done.stdout.strip()
    assert imported == "[]", f"imported on another thread than the main thread: {imported}"


ENDINGS_PROLOGUE = """
import atexit, gc, os, signal, urllib.error, urllib.request

@atexit.register
def check():
    # Runs after this package's exit handler, which is registered later.
    import threading
    assert threading.main_thread() is threading.current_thread(), threading.main_thread()
    sys.stdout.write("end\\n")

import layerfi_auth
from layerfi_auth import Client, LayerAuthError

def make(**options):
    # A call that is waited for at the end would take an hour.
    return Client.from_env(proxy=False, **{"timeout": 3600, **options})

def fails(call, kind):
    try:
        call()
    except LayerAuthError as error:
        assert error.kind == kind, f"{error.kind} is not {kind}: {error}"
    else:
        raise AssertionError("the call must fail")

def until(condition):
    end = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

def held(client):
    # A request that the server holds until after the end of the program.
    client.try_token()
    until(lambda: client.stats().token_requests > 0)
"""

BUSINESSES = [f"00000000-0000-4000-8000-{number:012x}" for number in range(50)]


class Ending:
    """A program that ends in one way, and what is expected of it.

    ``hold``: the emulator holds all token requests. ``signal`` is sent while one is held.
    """

    def __init__(
        self, program, *, code=0, stderr="", hold=False, signal=None, ends=True, **env
    ):
        self.program = program
        self.code = code
        self.stderr = stderr
        self.hold = hold
        self.signal = signal
        self.ends = ends
        self.env = env


ENDINGS = {
    "refused_port": Ending(
        "fails(make(max_attempts=1, auth_url='http://127.0.0.1:1/token').token, 'transport')"
    ),
    "tls_failure": Ending("""
url = os.environ["LAYER_AUTH_URL"].replace("http://", "https://")
fails(make(max_attempts=1, auth_url=url).token, "tls")
"""),
    "call_timed_out": Ending("fails(make(timeout=0.2).token, 'timeout')", hold=True),
    "invalid_client": Ending(
        "fails(make(max_attempts=1).token, 'oauth')", LAYER_CLIENT_SECRET="wrong"
    ),
    "rate_limited": Ending("""
from layerfi_auth.testing import Emulator
layer = Emulator()
layer.fault("token", status=429, headers={"Retry-After": "1000"}, times="forever")
fails(layer.client(timeout=5).token, "rate_limited")
"""),
    "uncaught_error": Ending(
        "make(max_attempts=1, auth_url='http://127.0.0.1:1/token').token()",
        code=1,
        stderr="TransportError: ",
    ),
    "sys_exit_during_a_request": Ending("held(make()); sys.exit(3)", code=3, hold=True),
    "os_exit_during_a_request": Ending(
        "held(make()); os._exit(4)", code=4, hold=True, ends=False
    ),
    "exec_during_a_request": Ending(
        "held(make()); os.execv('/bin/sh', ['sh', '-c', 'exit 5'])",
        code=5,
        hold=True,
        ends=False,
    ),
    "sigint_during_a_call": Ending(
        "make().token()",
        code=-signal.SIGINT,
        stderr="KeyboardInterrupt",
        hold=True,
        signal=signal.SIGINT,
    ),
    "sigint_that_is_caught": Ending(
        """
try:
    make().token()
except KeyboardInterrupt:
    sys.exit(6)
""",
        code=6,
        hold=True,
        signal=signal.SIGINT,
    ),
    "sigterm_during_a_call": Ending(
        "make().token()", code=-signal.SIGTERM, hold=True, signal=signal.SIGTERM, ends=False
    ),
    "sigterm_with_a_handler": Ending(
        """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
make().token()
""",
        code=7,
        hold=True,
        signal=signal.SIGTERM,
    ),
    "exception_in_a_thread": Ending(
        """
import threading
client = make()
def work():
    held(client)
    raise KeyError("of a thread")
thread = threading.Thread(target=work)
thread.start()
thread.join()
""",
        stderr="KeyError: 'of a thread'",
        hold=True,
    ),
    "daemon_threads_in_calls": Ending(
        """
import threading
client = make()
for call in (client.token, client.whoami, client.authorization):
    threading.Thread(target=call, daemon=True).start()
held(client)
""",
        hold=True,
    ),
    "native_threads_in_calls": Ending(
        """
import _thread
client = make()
for call in (client.token, client.whoami, client.authorization):
    _thread.start_new_thread(call, ())
held(client)
""",
        hold=True,
    ),
    "batch_left_half_way": Ending(f"""
batch = make().business_tokens({BUSINESSES!r}, max_in_flight=1)
assert next(batch).business_id
"""),
    "generator_not_closed": Ending(f"""
def tokens():
    batch = make().business_tokens({BUSINESSES!r})
    try:
        yield from batch
    finally:
        batch.close()
opened = tokens()
assert next(opened).business_id
"""),
    "async_generator_not_closed": Ending(f"""
import asyncio
async def tokens():
    async for token in make().business_tokens({BUSINESSES!r}):
        yield token
async def main():
    global opened
    opened = tokens()
    assert (await anext(opened)).business_id
asyncio.run(main())
"""),
    "asyncio_run_that_is_cancelled": Ending(
        """
import asyncio
client = make()
async def main():
    calls = [asyncio.ensure_future(client.token_async()) for _ in range(3)]
    done, _ = await asyncio.wait(calls, timeout=0.1)
    assert not done
    # `asyncio.run` cancels the tasks.
asyncio.run(main())
""",
        hold=True,
    ),
    "sigint_in_asyncio_run": Ending(
        """
import asyncio
client = make()
try:
    asyncio.run(client.token_async())
except KeyboardInterrupt:
    sys.exit(8)
""",
        code=8,
        hold=True,
        signal=signal.SIGINT,
    ),
    "calls_at_exit": Ending("""
client = make()
atexit.register(lambda: sys.stdout.write(client.whoami().client_name))
"""),
    "calls_in_del_at_exit": Ending("""
class Owner:
    client = make()
    def __del__(self, write=sys.stdout.write):
        write(self.client.whoami().client_name)
sys.owner = Owner()
"""),
    "child_of_a_fork": Ending(
        """
import warnings
warnings.simplefilter("ignore")
client = make()
held(client)
def fork(code):
    child = os.fork()
    if child == 0:
        client.try_token()
        sys.exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == code, status
fork(9)
fork(0)
""",
        hold=True,
    ),
    "client_deleted_during_a_request": Ending(
        """
client = make()
held(client)
del client
gc.collect()
""",
        hold=True,
    ),
    "keep_warm": Ending("make(keep_warm=True).token()"),
    "prepare": Ending("make().prepare()", hold=True),
    "provider_that_hangs_in_a_background_request": Ending(
        """
import _thread
called = []
def vault():
    called.append(1)
    lock = _thread.allocate_lock()
    lock.acquire()
    lock.acquire()
client = make(client_id=None, client_secret=None, credentials=vault)
client.try_token()
until(lambda: called)
""",
        LAYER_CLIENT_SECRET="",
    ),
    "provider_that_imports_at_exit": Ending(
        """
called = []
def vault():
    called.append(1)
    time.sleep(0.05)
    import http.server, sqlite3, xmlrpc.client
    raise KeyError
client = make(client_id=None, client_secret=None, credentials=vault)
client.try_token()
until(lambda: called)
time.sleep(0.04)
""",
        LAYER_CLIENT_SECRET="",
    ),
    "warnings_without_standard_error": Ending("""
from layerfi_auth.testing import Emulator
layer = Emulator(access_token_lifetime=4)
client = layer.client(keep_warm=True, max_attempts=1)
client.token()
sys.stderr = None
layer.fault("token", status=500, times="forever")
until(lambda: client.stats().token_requests > 1)
"""),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ENDINGS)
def test_b27_twenty_endings(layer, version, name):
    """Each ends at once, with its own exit code, and prints nothing of its own accord."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"CPython {version} is not installed")
    ending = ENDINGS[name]
    if ending.hold:
        layer.fault("token", hold=True, times="forever")
    process = subprocess.Popen(
        [python, "-S", "-c", PROLOGUE + ENDINGS_PROLOGUE + ending.program],
        env={**os.environ, **layer.env(), **ending.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if ending.signal is not None:
            assert layer.wait_for("token", 1, timeout=TIMEOUT), "no request was sent"
            process.send_signal(ending.signal)
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"the program hangs; it printed {out!r} and {err!r}")
    finally:
        process.kill()
    code = process.returncode
    assert code == ending.code, f"exit code {code}, not {ending.code}: {out!r}, {err!r}"
    assert out.endswith("end\n") == ending.ends, f"the program printed {out!r} and {err!r}"
    if ending.stderr:
        assert ending.stderr in err, f"{ending.stderr!r} is missing in {err!r}"
        assert err.count("Traceback") == 1, f"more than one traceback: {err!r}"
    else:
        assert err == "", f"unexpected on standard error: {err!r}"


IMPORTS_FROM = {
    "from": "from shop import READY",
    "module": "import shop; shop.READY",
    "submodule": "from shop.vault import READY",
    # Another thread holds the import that the provider waits for, and waits for the caller.
    "through_another_thread": (
        "import _thread, sys\n"
        "    _thread.start_new_thread(__import__, ('vault_library',))\n"
        "    while 'vault_library' not in sys.modules: pass\n"
        "    from vault_library import READY"
    ),
}
PACKAGE = """
import sys
from layerfi_auth import Client
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET

def vault():
    {imports}
    return CLIENT_ID, CLIENT_SECRET

client = Client.from_env(client_id=None, credentials=vault, proxy=False, timeout=3600)
{call}
READY = True
"""
USES_PACKAGE = """
from layerfi_auth import CredentialsError
try:
    import shop
except CredentialsError as error:
    print("told" if "import of module shop" in str(error) else error)
else:
    assert shop.client.whoami().client_name
    print("served")
"""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["blocking", "async"])
@pytest.mark.parametrize("kind", IMPORTS_FROM)
def test_b27_provider_that_imports_from_the_package_whose_import_waits_for_it(
    layer, tmp_path, version, kind, how
):
    """Python's import lock makes each thread wait for the other; the error says so in time."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"CPython {version} is not installed")
    call = {
        "blocking": "client.token()",
        "async": "import asyncio; asyncio.run(client.token_async())",
    }
    (tmp_path / "shop").mkdir()
    source = PACKAGE.format(imports=IMPORTS_FROM[kind], call=call[how])
    (tmp_path / "shop" / "__init__.py").write_text(source)
    (tmp_path / "shop" / "vault.py").write_text("READY = True")
    (tmp_path / "vault_library.py").write_text("from shop import READY")
    done = subprocess.run(
        [python, "-S", "-c", f"{PROLOGUE}sys.path.insert(0, {str(tmp_path)!r}){USES_PACKAGE}"],
        env={**os.environ, **layer.env(), "LAYER_CLIENT_SECRET": ""},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    assert done.stdout == ("served\n" if kind == "submodule" else "told\n")
