"""B20: no secret in a process's arguments, environment, or memory after its client is dropped.

The program is a separate process that is scanned through `/proc`, so that the scanner's own
memory is not part of the scan. Python's strings cannot be zeroed; therefore the secret comes
from a file, and no call returns a token as a `str`.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from conftest import BUSINESS, TIMEOUT, eventually
from layerfi_auth.testing import CLIENT_ID, Emulator

pytestmark = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="requires /proc")

SECRET = "canary-Zr7Qm2VxK9Ld4Tb8Nw1Hy6Gf3Jp5Us0c"
# Letters whose HPACK codes have five bits each, so that compressed headers can be searched too
# (RFC 7541 appendix B).
LETTERS = "012aceiost"


def canary(seed, length=400):
    """A pseudo-random text of this length."""
    state, text = seed, ""
    while len(text) < length:
        state = (state * 6364136223846793005 + 1) % 2**64
        text += LETTERS[(state >> 33) % len(LETTERS)]
    return text


TOKEN, FOR_BROWSER = canary(1), canary(2)


def parts(text):
    """Beginning, middle and end of a text, each searched on its own."""
    raw = text.encode()
    return [raw[start:][:16] for start in (4, len(raw) // 2 - 8, len(raw) - 16)]


def huffman(text):
    """The text in HPACK's code for each bit offset at which it can begin, in whole bytes."""
    bits = "".join(f"{LETTERS.index(letter):05b}" for letter in text)
    for phase in range(8):
        shifted = "0" * phase + bits
        whole = [int(shifted[at : at + 8], 2) for at in range(0, len(shifted) - 7, 8)]
        yield bytes(whole[1:17])


NEEDLES = {
    "client secret": parts(SECRET),
    # Only its end, which contains the secret.
    "Basic header": parts(base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()[-40:]),
    "access token": [*parts(TOKEN), *huffman(TOKEN[8:48])],
    "business token": parts(FOR_BROWSER),
}


def scan(pid, needles_of=NEEDLES):
    """Scan a process's memory and return what was found where.

    Skips mapped files that are not writable.
    """
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            range_, rights, _, _, inode, *place = line.split(maxsplit=5)
            start, end = (int(one, 16) for one in range_.split("-"))
            if rights[0] != "r" or (rights[1] != "w" and inode != "0"):
                continue
            # A mapping may no longer exist, and some cannot be read.
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            for what, needles in needles_of.items():
                number = sum(content.count(needle) for needle in needles)
                if number:
                    found.append((what, *place, number))
    return found


class Program:
    """A process that prints which step it reached and waits for a line to continue."""

    def __init__(self, arguments, env):
        self.process = subprocess.Popen(
            arguments,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    @property
    def pid(self):
        return self.process.pid

    def wait_for(self, word):
        line = self.process.stdout.readline().strip()
        if line != word:
            error = self.process.communicate(timeout=TIMEOUT)[1]
            pytest.fail(f"the program printed {line!r} and not {word!r}: {error}")

    def resume(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


def environment(layer, secret_file, tmp_path):
    env = layer.env()
    del env["LAYER_CLIENT_SECRET"]
    env["LAYER_CLIENT_SECRET_FILE"] = str(secret_file)
    if layer.ca_pem:
        ca = tmp_path / "ca.pem"
        ca.write_text(layer.ca_pem)
        env["LAYER_CA_FILE"] = str(ca)
    return env


def answer(token):
    return {"access_token": token, "expires_in": 3600, "token_type": "Bearer", "x": "y"}


def serve_known_tokens(layer):
    """Make the emulator return the same tokens each time, and refuse one request."""
    layer.fault("token", body=answer(TOKEN), times="forever")
    layer.fault("whoami", status=503, body={"errors": [{"error_enum": "NO"}]})
    me = {"data": {"clientName": "n", "clientId": "i"}}
    layer.fault("whoami", body=me, times="forever")
    layer.fault("auth_token", body=answer(FOR_BROWSER), times="forever")


PROGRAM = """
import asyncio, gc, sys
from layerfi_auth import Client

def wait_after(word):
    print(word, flush=True)
    sys.stdin.readline()

async def work_async(client):
    held = [await client.token_async(), await client.business_token_async(BUSINESS)]
    await client.mint_business_token_async(BUSINESS)
    await client.whoami_async()
    return held + [one async for one in client.business_tokens([BUSINESS])]

def work_blocking(client):
    held = [client.token(), client.business_token(BUSINESS), client.try_token()]
    client.mint_business_token(BUSINESS)
    client.whoami()
    return held + list(client.business_tokens([BUSINESS]))

def work():
    client = Client.from_env(proxy=False, max_attempts=2)
    held = asyncio.run(work_async(client)) if ASYNC else work_blocking(client)
    assert client.whoami().client_name
    repr(held), hash(held[0]), held[0] == held[-1]
    wait_after("working")

work()
gc.collect()
wait_after("dropped")
"""


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("how", ["blocking", "async"])
def test_b20_dropped_client_leaves_no_secret_in_memory(tmp_path, secret_file, how, tls):
    code = f"BUSINESS, ASYNC = {BUSINESS!r}, {how == 'async'}\n{PROGRAM}"
    with Emulator(clients=[(CLIENT_ID, SECRET)], rate_limit=None, tls=tls) as layer:
        serve_known_tokens(layer)
        env = environment(layer, secret_file, tmp_path)
        with Program([sys.executable, "-c", code], env) as program:
            program.wait_for("working")
            # The scan finds tokens that exist. (The secret is read from its file for each
            # token request and then zeroed.)
            working = {what for what, *_ in scan(program.pid)}
            assert working >= {"access token", "business token"}
            program.resume()
            program.wait_for("dropped")
            # Connections close in the background.
            until = time.monotonic() + TIMEOUT
            while (left := scan(program.pid)) and time.monotonic() < until:
                time.sleep(0.05)
            assert left == [], f"secrets are left in memory: {left}"


def test_b20_memory_scan_finds_a_secret_in_a_python_string(tmp_path, secret_file):
    """Python's strings are scanned as well."""
    with Emulator(clients=[(CLIENT_ID, SECRET)], rate_limit=None) as layer:
        env = environment(layer, secret_file, tmp_path)
        code = (
            "import sys\nfrom layerfi_auth import Client\n"
            f"secret = open({str(secret_file)!r}).read()\n"
            "client = Client.from_env(client_secret=secret, client_secret_file=None)\n"
            "print('ready', flush=True)\nsys.stdin.readline()\n"
        )
        del env["LAYER_CLIENT_SECRET_FILE"]
        with Program([sys.executable, "-c", code], env) as program:
            program.wait_for("ready")
            assert "client secret" in {what for what, *_ in scan(program.pid)}


def public_data(pid):
    """A process's arguments and environment."""
    for place in ("cmdline", "environ"):
        # Both are empty for a moment while a process starts.
        path = Path(f"/proc/{pid}/{place}")
        eventually(path.read_bytes)
        yield place, path.read_bytes()


def check_process(pid):
    for place, content in public_data(pid):
        for what, needles in NEEDLES.items():
            found = any(needle in content for needle in needles)
            if found or re.search(rb"eyJ[\w-]{6}", content):
                pytest.fail(f"{place} of {pid} shows the {what}")


def children_of(pid):
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        number = int(path.parent.name)
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            yield number
            yield from children_of(number)


PROCESSES = """
import multiprocessing, os, subprocess, sys
from pathlib import Path

def vault():
    return os.environ["LAYER_CLIENT_ID"], Path(os.environ["SECRET"]).read_text()

def make():
    from layerfi_auth import Client
    if PROVIDER:
        return Client.from_env(credentials=vault, client_id=None, proxy=False)
    return Client.from_env(proxy=False)

def child(ready, go_on):
    make().authorization()
    ready.release()
    go_on.acquire()

if __name__ == "__main__":
    client = make()
    client.authorization()
    client.business_token("3fa85f64-5717-4562-b3fc-2c963f66afa6").to_dict()
    ready, go_on = (multiprocessing.get_context("spawn").Semaphore(0) for _ in range(2))
    spawned = multiprocessing.get_context("spawn").Process(target=child, args=(ready, go_on))
    spawned.start()
    ready.acquire()
    other = subprocess.Popen(["sleep", "60"])
    print("working", flush=True)
    sys.stdin.readline()
    other.kill()
    other.wait()
    go_on.release()
    spawned.join()
"""


@pytest.mark.parametrize("provider", [False, True], ids=["file", "provider"])
def test_b20_secret_is_in_no_process_arguments_or_environment(tmp_path, secret_file, provider):
    """Of the program, its `multiprocessing` children, and commands that it starts."""
    script = tmp_path / "program.py"
    script.write_text(f"PROVIDER = {provider}\n{PROCESSES}")
    with Emulator(clients=[(CLIENT_ID, SECRET)], rate_limit=None) as layer:
        env = environment(layer, secret_file, tmp_path)
        if provider:
            env["SECRET"] = env.pop("LAYER_CLIENT_SECRET_FILE")
        with Program([sys.executable, script], env) as program:
            program.wait_for("working")
            children = set(children_of(program.pid))
            # The spawned process, the resource tracker and `sleep`.
            assert len(children) >= 3
            for pid in [program.pid, *children]:
                check_process(pid)
            program.resume()
            assert program.process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
def test_b20_secret_is_in_no_arguments_or_environment_of_the_command(
    tmp_path, secret_file, stdin
):
    command = [Path(sysconfig.get_path("scripts")) / "layerfi-auth", "token"]
    command += ["--client-secret-stdin"] if stdin else ["--client-secret-file", secret_file]
    with Emulator(clients=[(CLIENT_ID, SECRET)], rate_limit=None) as layer:
        layer.fault("token", hold=True)
        env = environment(layer, secret_file, tmp_path)
        del env["LAYER_CLIENT_SECRET_FILE"]
        with Program(command, env) as program:
            if stdin:
                program.process.stdin.write(SECRET)
            program.process.stdin.close()
            # The command waits for its response during the check.
            assert layer.wait_for("token", 1)
            check_process(program.pid)
            layer.release()
            program.process.stdin = None
            out, err = program.process.communicate(timeout=TIMEOUT)
            assert program.process.returncode == 0
            assert out.count(".") == 2
            if SECRET in err or out.strip() in err:
                pytest.fail("standard error shows a secret")


def test_process_scan_finds_a_secret_in_the_environment(secret_file):
    with Program(["sleep", "60"], {"MY_SECRET": SECRET}) as program:
        with pytest.raises(pytest.fail.Exception, match="environ"):
            check_process(program.pid)
        assert program.pid in set(children_of(os.getpid()))
