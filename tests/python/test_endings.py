"""B27: a program ends at once on every interpreter, also while calls or user functions run.

On Python 3.12 and earlier, the thread that first imports `threading` counts as the main thread,
and the interpreter waits for it at exit. Each program here runs in a new process that has not
imported `threading`, on each interpreter that is installed.
"""

from __future__ import annotations

import functools
import os
import shutil
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
    server = socket.create_server(("127.0.0.1", 0))
    urllib.request.urlopen("http://127.0.0.1:%d" % server.getsockname()[1])
client = Client.from_env(client_id=None, credentials=vault, proxy=False, timeout=0.3)
try:
    client.token()
except LayerAuthError as error:
    print(type(error).__name__)
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
