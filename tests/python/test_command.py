"""The command `layerfi-auth` of the wheel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from conftest import TIMEOUT

SCRIPT = Path(sysconfig.get_path("scripts")) / "layerfi-auth"


def run(*arguments, layer=None, program=(SCRIPT,)):
    return subprocess.run(
        [*program, *arguments],
        env={**os.environ, **(layer.env() if layer else {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("program", [(SCRIPT,), (sys.executable, "-m", "layerfi_auth")])
def test_command_runs_as_script_and_as_module(layer, program):
    done = run("--version", program=program)
    assert (done.returncode, done.stdout.split()[0]) == (0, "layerfi-auth")
    done = run("--json", "whoami", layer=layer, program=program)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["client_name"] == "Layer Example"
    done = run("token", layer=layer, program=program)
    assert done.stdout.count(".") == 2


def test_missing_settings_give_an_exit_code_and_name_the_variable():
    done = run("token")
    assert done.returncode not in {0, 1}
    assert "LAYER_ENVIRONMENT" in done.stderr


def test_ctrl_c_ends_the_emulator():
    process = subprocess.Popen(
        [SCRIPT, "emulator"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode in {0, -signal.SIGINT, 130}
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_a_waiting_command(layer):
    layer.fault("token", hold=True)
    process = subprocess.Popen([SCRIPT, "token"], env={**os.environ, **layer.env()})
    try:
        assert layer.wait_for("token", 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) != 0
    finally:
        process.kill()
        process.wait()
