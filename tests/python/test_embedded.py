"""B13, B23 and B27 in a C program that embeds Python, and may start it more than once."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import layerfi_auth
from conftest import TIMEOUT

# Takes pairs of a command and an argument.
SOURCE = r"""
#include <Python.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *run_in_thread(void *code) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyRun_SimpleString(code);
    PyGILState_Release(state);
    return NULL;
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        char *command = argv[i], *argument = argv[i + 1];
        if (strcmp(command, "start") == 0) {
            Py_InitializeEx(0);
        } else if (strcmp(command, "run") == 0) {
            if (PyRun_SimpleString(argument) != 0) return 10;
        } else if (strcmp(command, "thread") == 0) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, run_in_thread, argument) != 0) return 11;
        } else if (strcmp(command, "fork") == 0) {
            PyOS_BeforeFork();
            pid_t child = fork();
            if (child == 0) {
                PyOS_AfterFork_Child();
                int failed = PyRun_SimpleString(argument);
                _exit(failed != 0 || Py_FinalizeEx() != 0);
            }
            PyOS_AfterFork_Parent();
            int status = 1;
            Py_BEGIN_ALLOW_THREADS
            waitpid(child, &status, 0);
            Py_END_ALLOW_THREADS
            if (status != 0) return 12;
        } else if (strcmp(command, "end") == 0) {
            if (Py_FinalizeEx() != 0) return 13;
            printf("ended\n");
            fflush(stdout);
        } else {
            return 14;
        }
    }
    return 0;
}
"""

MAKE = """
import sys, time
from layerfi_auth import Client
client = Client.from_env(proxy=False, timeout=3600)

def until(condition):
    end = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def embedding(tmp_path_factory):
    """Compile the program against the library of the current interpreter."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    library = sysconfig.get_config_var("LDLIBRARY") or ""
    if not header.exists() or not library.endswith(".so") or not (folder / library).exists():
        pytest.skip(f"{sys.executable} has no header files or no shared library")
    home = tmp_path_factory.mktemp("embedding")
    (home / "main.c").write_text(SOURCE)
    done = subprocess.run(
        [
            *(os.environ.get("CC", "cc"), "-Wall", "-o", home / "main", home / "main.c"),
            *(f"-I{header.parent}", folder / library, f"-Wl,-rpath,{folder}", "-lpthread"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return home / "main"


@pytest.fixture
def run(embedding, layer):
    def run(*commands):
        done = subprocess.run(
            [embedding, *commands],
            env={
                **os.environ,
                **layer.env(),
                "PYTHONHOME": sys.base_prefix,
                "PYTHONPATH": str(Path(layerfi_auth.__file__).parents[1]),
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, (
            f"exit code {done.returncode}; the program printed {done.stdout!r} "
            f"and {done.stderr!r}"
        )
        assert done.stderr == "", f"unexpected on standard error: {done.stderr!r}"
        return done.stdout

    return run


USE = """
import asyncio
print(client.whoami().client_name)
print(asyncio.run(client.whoami_async()).client_name)
"""


def test_b12_calls_work_in_an_embedded_interpreter(run):
    out = run(
        "start", "", "run", MAKE + USE, "thread", USE, "run", "time.sleep(0.1)", "end", ""
    )
    assert out.splitlines()[:2] == ["Layer Example"] * 2
    assert out.endswith("ended\n")


def test_b13_embedding_program_forks(layer, run):
    out = run("start", "", "run", MAKE + "client.token()", "fork", USE, "run", USE, "end", "")
    assert out.splitlines() == ["Layer Example"] * 4 + ["ended"]
    assert layer.count("token") == 1


@pytest.mark.parametrize("call", ["client.token()", "asyncio.run(client.token_async())"])
def test_b27_interpreter_ends_while_threads_of_the_program_wait_in_calls(layer, run, call):
    layer.fault("token", hold=True, times="forever")
    waits = "until(lambda: client.stats().token_requests > 0)"
    call = f"import asyncio; {call}"
    out = run("start", "", "run", MAKE, "thread", call, "thread", call, "run", waits, "end", "")
    assert out == "ended\n"


IMPORT_AGAIN = """
try:
    import layerfi_auth
except ImportError as error:
    print(error)
"""
LEFT_BEHIND = """
import asyncio, logging
logging.getLogger("layerfi_auth").setLevel(1)
logging.getLogger("layerfi_auth").addHandler(logging.NullHandler())

async def leave():
    other = Client.from_env(proxy=False, keep_warm=True)
    asyncio.ensure_future(other.token_async(timeout=0.5))
    await asyncio.sleep(0.05)
    batch = client.business_tokens(["3fa85f64-5717-4562-b3fc-2c963f66afa6"])

asyncio.run(leave())
client.try_token()
"""


@pytest.mark.parametrize("left", ["", LEFT_BEHIND], ids=["idle", "with_calls_in_progress"])
def test_b23_second_interpreter_of_a_process_is_refused(layer, run, left):
    """It would use objects of the first one."""
    use = "print(client.whoami().client_name)\n" + left
    # What the first interpreter left behind ends while the second one runs.
    again = f"import time; time.sleep(1){IMPORT_AGAIN}"
    first = ["start", "", "run", MAKE + use, "end", ""]
    again = [
        "start",
        "",
        "run",
        again,
        "thread",
        IMPORT_AGAIN,
        "run",
        "import time; time.sleep(0.2)",
    ]
    out = run(*first, *again, "end", "", "start", "", "run", IMPORT_AGAIN, "end", "")
    refused = "layerfi_auth cannot be imported again after the interpreter that imported it has"
    lines = out.splitlines()
    assert lines[:2] == ["Layer Example", "ended"]
    assert sum(line.startswith(refused) for line in lines) == 3, lines
    assert lines[-1] == "ended"
