"""The command `layerfi-auth` of the wheel."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
import time
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, business, eventually
from layerfi_auth.testing import BUSINESS_ID, CLIENT_SECRET, Emulator

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


# A terminal of 60 columns.

COLUMNS = 60


def terminal(*arguments, layer=None, end=None, **variables):
    """Run the command in a terminal, and return its exit code and what it showed.

    `end` gets the process when it has shown something.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    env |= {"TERM": "xterm", **(layer.env() if layer else {}), **variables}
    process = subprocess.Popen(
        [SCRIPT, *arguments], env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    until = time.monotonic() + TIMEOUT
    try:
        while time.monotonic() < until:
            try:
                part = os.read(ours, 65536)
            except OSError:  # The process has ended.
                break
            if not part:
                break
            shown += part
            if end is not None and end(process, shown):
                end = None
        code = process.wait(TIMEOUT)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return code, shown.decode()


def plain(shown):
    """Return the text without escape codes, one line per line."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r\n", "\n")


def words(text):
    """Return the words of a text, without times and ports."""
    text = re.sub(r"\(?\b\d+(\.\d+)? (us|ms|s)\b\)?", "", " ".join(text.split()))
    return [re.sub(r"\d+", "0", word) for word in text.split()]


def assert_fits(text):
    for line in text.splitlines():
        # A word that is wider stays whole, so that it can be copied.
        assert len(line) <= COLUMNS or len(line.split()) == 1, (
            f"the line has {len(line)} columns: {line!r}"
        )


@pytest.mark.parametrize(
    "command", ["", "token", "business-token", "api", "doctor", "emulator"]
)
def test_help_fits_into_a_terminal_of_60_columns(command):
    arguments = [command, "--help"] if command else ["--help"]
    code, shown = terminal(*arguments)
    assert code == 0, shown
    text = plain(shown)
    # The line of a usage can be copied.
    body = "\n".join(one for one in text.splitlines() if "layerfi-auth" not in one)
    assert_fits(body)
    wide = run(*arguments).stdout
    assert words(text) == words(wide), "a word is cut or missing"


def test_doctor_fits_into_a_terminal_of_60_columns(layer):
    code, shown = terminal("doctor", layer=layer)
    assert code == 0, shown
    text = plain(shown)
    assert_fits(text)
    assert "All checks passed." in text
    assert words(text) == words(run("doctor", layer=layer).stdout), "a word is cut or missing"

    wrong = ["doctor", "--auth-url", "http://127.0.0.1:1/oauth2/token", "--client-id", "x"]
    code, shown = terminal(*wrong, layer=layer)
    assert code == 20, shown
    text = plain(shown)
    assert_fits(text)
    assert "FAILED" in text
    assert words(text) == words(run(*wrong, layer=layer).stdout), "a word is cut or missing"


@pytest.mark.parametrize(
    "arguments",
    [
        ["token"],
        ["business-token", "no-uuid", "--session-duration", "0"],
        ["token", "--client-secret", "x"],
        ["token", "--environment", "custom", "--client-id", "a:b"],
    ],
)
def test_errors_fit_into_a_terminal_of_60_columns(arguments):
    code, shown = terminal(*arguments)
    assert code in {2, 3}, shown
    text = plain(shown)
    assert_fits(text)
    assert text.startswith("error: ")
    assert len(text.splitlines()) > 2, "the error is not wrapped"
    assert words(text) == words(run(*arguments).stderr), "a word is cut or missing"


def test_demo_fits_into_a_terminal_of_60_columns():
    code, shown = terminal("demo")
    assert code == 0, shown
    text = plain(shown)
    text = "\n".join(line.rpartition("\r")[2] for line in text.splitlines())
    assert_fits(text)
    assert "console" in text, "the demo does not mention the console"


# business-token --from in a terminal.


def mint_list(tmp_path, count):
    ids = tmp_path / "ids.txt"
    ids.write_text("".join(f"{business(number)}\n" for number in range(count)))
    return ["business-token", "--from", str(ids), "--output", str(tmp_path / "out.jsonl")]


def test_list_shows_progress_in_a_terminal_and_a_summary(layer, tmp_path):
    # Held, so that the bar is seen while it is not full.
    layer.fault("auth_token", business_id=business(40), hold=True)

    def release(process, shown):
        if b" 40/50" not in shown:
            return False
        layer.release()
        return True

    code, shown = terminal(*mint_list(tmp_path, 50), layer=layer, end=release)
    assert code == 0, shown
    assert "40/50" in shown, "no progress is shown"
    last = plain(shown).rpartition("\r")[2].strip()
    assert last.startswith("50 minted, 0 failed, 0 skipped, 0 left, "), last
    assert_fits("\n".join(re.split(r"[\r\n]", plain(shown))))
    assert "eyJ" not in shown


@pytest.mark.parametrize(("flags", "variables"), [(["--quiet"], {}), ([], {"CI": "true"})])
def test_list_shows_no_bar_with_quiet_or_in_ci(layer, tmp_path, flags, variables):
    code, shown = terminal(*mint_list(tmp_path, 5), *flags, layer=layer, **variables)
    assert code == 0, shown
    assert "5/5" not in shown
    assert ("5 minted" in shown) is not bool(flags)


def test_ctrl_c_ends_a_list_and_resume_continues_it(layer, tmp_path):
    arguments = mint_list(tmp_path, 400)
    for number in range(100, 400):
        layer.fault("auth_token", business_id=business(number), hold=True, times="forever")
    process = subprocess.Popen(
        [SCRIPT, *arguments],
        env={**os.environ, **layer.env()},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        in_flight = lambda: layer.counters()["endpoints"]["auth_token"]["in_flight"]  # noqa: E731
        out = tmp_path / "out.jsonl"
        eventually(lambda: in_flight() == 32 and len(out.read_text().splitlines()) == 100)
        process.send_signal(signal.SIGINT)
        # Nothing shows when the process has received the signal: mints that it starts before
        # are held too.
        until = time.monotonic() + TIMEOUT
        while process.poll() is None and time.monotonic() < until:
            layer.release()
            time.sleep(0.05)
        assert process.returncode == 130, process.stderr.read()
        summary = process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    layer.clear_faults()
    written = len(out.read_text().splitlines())
    assert summary.startswith(f"{written} minted, 0 failed, 0 skipped, {400 - written} left, ")
    done = run(*arguments, "--resume", layer=layer)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(
        f"{400 - written} minted, 0 failed, {written} skipped, 0 left"
    )
    assert layer.count("auth_token") == 400, "a business was minted twice"


# The schema of doctor's report.

SCHEMA = json.loads((ROOT / "docs/doctor.schema.json").read_text())


def strict(schema):
    """Return the schema so that a field that it does not have is an error."""
    schema = copy.deepcopy(schema)
    for part in (schema, *schema["$defs"].values()):
        assert set(part["required"]) == set(part["properties"])
        part["additionalProperties"] = False
    return schema


def validate(report):
    # The interpreters without other packages have none that checks a schema.
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(report, strict(SCHEMA), jsonschema.Draft202012Validator)


def doctor(layer, *arguments):
    done = run("doctor", "--json", *arguments, layer=layer)
    report = json.loads(done.stdout)
    validate(report)
    assert done.returncode == (0 if report["ok"] else 20), done.stderr
    return report


def status(report):
    return {check["name"]: check["status"] for check in report["checks"]}


def test_reports_of_doctor_have_the_schema(layer):
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(SCHEMA)
    report = doctor(layer)
    assert report["ok"]
    assert set(status(report).values()) <= {"passed", "skipped"}

    # No host, a closed port, another host for the token endpoint, wrong credentials.
    failed = {}
    for arguments in (
        ["--api-url", "http://127.0.0.1:1"],
        ["--auth-url", "http://127.0.0.1:1/oauth2/token"],
        ["--client-id", "someone-else"],
        ["--shared-cache", "redis://127.0.0.1:1"],
        ["--api-url", "ftp://x"],
    ):
        report = doctor(layer, *arguments)
        for check in report["checks"]:
            if check["status"] == "failed":
                failed[check["name"]] = check
        assert CLIENT_SECRET not in json.dumps(report)
    assert {"configuration", "tcp", "credentials"} <= set(failed)
    assert failed["credentials"]["error"]["oauth_error"] == "invalid_client"
    assert failed["configuration"]["error"]["field"] == "api_url"

    layer.fault("whoami", status=403, times="forever")
    assert status(doctor(layer))["whoami"] == "failed"
    layer.advance(3600)
    assert status(doctor(layer))["clock"] in {"failed", "warning"}


def test_report_of_doctor_about_tls_has_the_schema():
    with Emulator(tls=True) as layer:
        assert doctor(layer)["ok"]
    with Emulator(tls_trouble="expired") as layer:
        report = doctor(layer)
        assert status(report)["tls"] == "failed"


def test_schema_of_doctor_refuses_other_reports(layer):
    good = doctor(layer)
    for change in (
        lambda report: report.pop("ok"),
        lambda report: report["checks"][0].pop("error"),
        lambda report: report["checks"][0].update(status="ok"),
        lambda report: report["checks"][0].update(status="failed"),
        lambda report: report["checks"][0].update(new=1),
    ):
        report = copy.deepcopy(good)
        change(report)
        with pytest.raises(pytest.importorskip("jsonschema").ValidationError):
            validate(report)


# The other commands, through the wheel.


def test_new_commands_are_in_the_wheel(layer):
    done = run(
        "api", "GET", f"/v1/businesses/{BUSINESS_ID}", "--business", BUSINESS_ID, layer=layer
    )
    assert json.loads(done.stdout)["data"]["id"] == BUSINESS_ID, done.stderr
    assert run("api", "GET", "/v1/nothing", layer=layer).returncode == 6
    assert "_layerfi__auth" in run("completions", "bash").stdout
    assert ".TH layerfi-auth-api 1" in run("man", "api").stdout
