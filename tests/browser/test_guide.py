"""The blocks of docs/browser.md are lines of programs that other tests run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from layerfi_auth.testing import BUSINESS_ID, Emulator

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "browser.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?:<!-- from (?P<file>\S+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# Files that a test runs, and where it says so.
RUN_BY = {
    "examples/fastapi-react/": ("tests/browser/demo-web.test.mjs", "'fastapi-react'"),
    "examples/bff-fastapi/": ("tests/browser/bff.test.mjs", "'bff-fastapi'"),
    "examples/flask-gunicorn/": ("tests/examples/test_flask_gunicorn.py", "flask-gunicorn"),
    "examples/django/": ("tests/examples/test_django.py", "django"),
    "examples/axum/": (
        "examples/axum/tests/load.rs",
        "CARGO_BIN_EXE_layerfi-auth-example-axum",
    ),
}


def of_language(language):
    return [block["code"] for block in BLOCK.finditer(GUIDE) if block["language"] == language]


def test_b29_blocks_of_the_browser_guide_are_in_programs_that_tests_run():
    blocks = [block for block in BLOCK.finditer(GUIDE) if block["file"]]
    unnamed = [block for block in BLOCK.finditer(GUIDE) if not block["file"]]
    assert len(blocks) > 8, "the guide's blocks were not found"
    assert [block["language"] for block in unnamed] == ["json", "sh"]
    for block in blocks:
        file, code = block["file"], textwrap.dedent(block["code"])
        (test, text) = next(RUN_BY[folder] for folder in RUN_BY if file.startswith(folder))
        source = ROOT / test
        assert text in source.read_text(encoding="utf-8"), f"{test} does not run {file}"
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines(keepends=True)
        length = code.count("\n")
        parts = ("".join(lines[at : at + length]) for at in range(len(lines)))
        assert any(textwrap.dedent(part) == code for part in parts), (
            f"{file} has not the lines of docs/browser.md:\n{code}"
        )


def test_b29_session_of_the_browser_guide_has_the_fields_of_a_real_one():
    (shown,) = of_language("json")
    session = json.loads(shown)
    with Emulator() as layer:
        token = layer.client().business_token(BUSINESS_ID, session_duration=28_800)
        real = token.to_session()
    assert list(session) == list(real)
    for name, value in real.items():
        assert type(session[name]) is type(value), f"{name} has another type"
    assert session["renew_in"] == real["renew_in"]
    props = {**session["layer_provider_props"]}
    assert props.pop("environment") == "sandbox"
    assert set(real["layer_provider_props"]) - set(props) == {"environmentConfigOverride"}


def test_b29_emulator_of_the_browser_guide_starts():
    (command,) = of_language("sh")
    program, *options = command.split()
    assert program == "layerfi-auth"
    with subprocess.Popen(
        [sys.executable, "-m", "layerfi_auth", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as emulator:
        first = emulator.stdout.readline()
        emulator.terminate()
        rest = emulator.stdout.read()
    assert "LAYER_API_URL" in first + rest, f"it printed {first + rest!r}"
    assert emulator.returncode == 0
