"""Every block of code in README.md and docs/ is run by exactly one test, or has a reason.

A Python block is a file: it is saved under the name in its first line and started as a reader
would start it, and its output is compared. `CLAIMS` says which test runs each other block.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, eventually, free_port
from test_servers import running

BLOCK = re.compile(r"^([ >]*)```([\w,]+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
# Pages of the site's start are followed literally; see tests/stranger/follow.py.
START = "docs/start/"
FOLLOWED = "tests/stranger/follow.py"

METRICS = "docs/metrics.md"
FRAMEWORKS = "docs/guides/frameworks.md"

WRONG_SECRET = {"LAYER_CLIENT_SECRET": "wrong"}
WHOAMI = r"\{'data': \{'clientId': '[\w-]+', 'clientName': 'Layer Example', .*\}\}\n"
ACCESS_TOKEN = r"<AccessToken \[redacted\], expires at [\w:-]+>"
TOKEN_LINE = rf'{ACCESS_TOKEN} WhoAmI\(client_name="Layer Example", client_id="[\w-]+"\)\n'
ID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"

# The files of the pages: the variables to set, and the whole output.
PROGRAMS = {
    ("docs/python.md", "make_client.py"): ({}, r"custom http://127\.0\.0\.1:\d+\n"),
    ("docs/python.md", "make_client_with_arguments.py"): (
        {},
        r"sandbox https://sandbox\.layerfi\.com\n",
    ),
    ("docs/python.md", "get_tokens.py"): ({}, TOKEN_LINE * 2),
    ("docs/python.md", "get_business_tokens.py"): (
        {},
        rf"<BusinessToken \[redacted\] for {ID}, expires at \S+>\n"
        r"\['access_token', 'business_id', .*\] \['businessAccessToken', .*\]\n900\n",
    ),
    ("docs/python.md", "get_many_business_tokens.py"): (
        {},
        rf"{ID} BatchProgress\(total=3, distinct=2, .*\)\n"
        rf'failed: not-a-uuid business_id "not-a-uuid" is not a UUID: .*\n'
        rf"{ID} BatchProgress\(.*, failed=1\)\n{ID}\n",
    ),
    ("docs/python.md", "show_progress.py"): ({}, r"(?s).*2/2 .*failed=1.*"),
    ("docs/python.md", "show_progress_async.py"): ({}, rf"(?s){ID}\n.*1/1 .*"),
    ("docs/python.md", "handle_errors.py"): (WRONG_SECRET, r"invalid_client 400\n"),
    ("docs/python.md", "with_httpx.py"): ({}, WHOAMI * 2),
    ("docs/python.md", "with_requests.py"): ({}, WHOAMI),
    ("docs/python.md", "with_aiohttp.py"): ({}, WHOAMI),
    ("docs/python.md", "with_http_client.py"): ({}, r"200\n"),
    ("docs/python.md", "prepare.py"): ({}, rf"{ACCESS_TOKEN}\n"),
    ("docs/python.md", "log_requests.py"): (
        {},
        r"(DEBUG layerfi_auth .*\n)*DEBUG layerfi_auth got an access token; .*\n",
    ),
    ("docs/python.md", "log_refusals.py"): (
        WRONG_SECRET,
        r"(?s)(?=.*raised: invalid_client\n)(?=.*WARNING invalid_client prepare got no).*",
    ),
    ("docs/python.md", "try_failures.py"): ({}, r"4 token requests\n"),
    ("docs/python.md", "test_mine.py"): ({}, r"(?s)\..*1 passed.*"),
    ("docs/python.md", "typed.py"): ({}, r"sandbox\n"),
    ("docs/guides/gevent.md", "with_gevent.py"): ({}, r"20 calls, 1 token request\n"),
    ("docs/guides/lambda.md", "invoices.py"): ({}, r"200\n200\n1 token request\n"),
    ("docs/guides/rotating-secrets.md", "from_vault.py"): ({}, rf"{ACCESS_TOKEN}\n"),
    ("docs/guides/testing.md", "test_invoices.py"): ({}, r"(?s)\.\..*2 passed.*"),
    ("docs/guides/migration.md", "after.py"): ({}, r"200\n"),
}

# Page, language, a text of the block ("" for all blocks of the language), and the file of
# the test with a text that it contains, or the reason why no test runs the block.
HERE = "tests/python/test_documentation.py"
CLI, RUST_DOC = "cli/tests/readme.rs", "core/src/lib.rs"
CLAIMS = [
    ("README.md", "python", "", ("tests/python/test_quickstarts.py", 'section("In Python")')),
    ("README.md", "sh", "pip install ./python", ("tests/python/test_quickstarts.py", '"pip"')),
    ("README.md", "sh", "python script.py", ("tests/python/test_quickstarts.py", '"python"')),
    ("README.md", "sh", "uvicorn", ("tests/python/test_quickstarts.py", '"uvicorn"')),
    ("README.md", "sh", "gunicorn", ("tests/python/test_quickstarts.py", '"gunicorn"')),
    ("README.md", "rust", "", (CLI, "the_rust_block_runs")),
    ("README.md", "toml", "", "the dependencies of cli/Cargo.toml, which compiles the block"),
    ("README.md", "c", "", ("ffi/tests/binding/examples.rs", '("c", "service.c")')),
    ("README.md", "cpp", "", ("ffi/tests/binding/examples.rs", '("cpp", "threads.cpp")')),
    ("README.md", "sh", "layerfi-auth emulator\n", (CLI, "layerfi-auth emulator\\n")),
    ("README.md", "sh", "layerfi-auth doctor", (CLI, "layerfi-auth doctor")),
    ("README.md", "sh", "--data-urlencode", (CLI, "--data-urlencode")),
    ("README.md", "sh", "make demo", "this is what runs these tests"),
    ("README.md", "sh", "cargo install --path cli", "the tests run the same program"),
    ("README.md", "sh", "make install", ("ffi/tests/binding/install.rs", "make install")),
    ("python/README.md", "python", "", ("tests/python/test_quickstarts.py", "package_readme")),
    ("python/README.md", "sh", "", "the package is not published yet"),
    ("docs/rust.md", "rust", "", (RUST_DOC, "docs/rust.md")),
    ("docs/rust.md", "rust,no_run", "", (RUST_DOC, "docs/rust.md")),
    ("docs/fleets.md", "rust,no_run", "", (RUST_DOC, "docs/fleets.md")),
    ("docs/fleets.md", "python", "", ("tests/python/test_shared_cache.py", "docs/fleets.md")),
    ("docs/fleets.md", "json", "", ("tests/python/test_shared_cache.py", "docs/fleets.md")),
    ("docs/fleets.md", "c", "", ("ffi/tests/binding/examples.rs", "docs/fleets.md")),
    ("docs/fleets.md", "cpp", "", ("ffi/tests/binding/examples.rs", "docs/fleets.md")),
    ("docs/fleets.md", "text", "ACL SETUSER", ("cli/tests/doctor.rs", "ACL SETUSER")),
    ("docs/fleets.md", "sh", "", "one variable; the tests set it for their own server"),
    ("docs/fleets.md", "console", "", "the same; cli/tests/doctor.rs runs the command"),
    ("docs/fleets.md", "yaml", "", (HERE, "def test_manifests")),
    ("docs/c.md", "c", "", ("ffi/tests/binding/header.rs", "blocks_of_the_guide_compile")),
    ("docs/c.md", "sh", "make install", ("ffi/tests/binding/install.rs", "make install")),
    ("docs/c.md", "text", "cannot open shared object", "a message to be recognized"),
    ("docs/reference/rust.md", "sh", "", "opens a browser; see `make docs RUSTDOC=1`"),
    ("docs/cli.md", "sh", "layerfi-auth emulator\n", (CLI, "layerfi-auth emulator\\n")),
    ("docs/cli.md", "sh", "layerfi-auth doctor", (CLI, "of_the_cli_page_run")),
    ("docs/cli.md", "sh", "--from - ", (CLI, "about_lists_and_the_api_run")),
    ("docs/cli.md", "sh", "--from ids.txt", (CLI, "about_lists_and_the_api_run")),
    ("docs/cli.md", "sh", "layerfi-auth api GET", (CLI, "about_lists_and_the_api_run")),
    ("docs/cli.md", "sh", "layerfi-auth completions", (CLI, "about_lists_and_the_api_run")),
    ("docs/reference/cli.md", "text", "", "generated from the command's arguments"),
    ("docs/cli.md", "console", "", "samples of output; cli/tests compares the texts"),
    ("docs/browser.md", "python", "", ("tests/browser/test_guide.py", "guide_are_in_programs")),
    ("docs/browser.md", "rust", "", ("tests/browser/test_guide.py", "guide_are_in_programs")),
    ("docs/browser.md", "jsx", "", ("tests/browser/test_guide.py", "guide_are_in_programs")),
    ("docs/browser.md", "json", "", ("tests/browser/test_guide.py", "fields_of_a_real_one")),
    ("docs/browser.md", "sh", "", ("tests/browser/test_guide.py", "guide_starts")),
    ("docs/cli.md", "json", "", "a sample of output; cli/tests compares its fields"),
    ("docs/emulator.md", "rust,no_run", "", ("emulator/src/lib.rs", "docs/emulator.md")),
    ("docs/emulator.md", "json", "", ("emulator/tests/guide.rs", 'blocks("json")')),
    ("docs/emulator.md", "sh", "layerfi-auth emulator",
     (HERE, "def test_commands_of_the_emulator_guide_start")),
    ("docs/emulator.md", "sh", "curl $CONTROL",
     (HERE, "def test_calls_of_the_emulator_guide_succeed")),
    ("docs/emulator.md", "sh", "certutil", "changes the trust store of the reader's browser"),
    ("docs/dependencies.md", "sh", "",
     (HERE, "def test_commands_of_the_dependencies_page_run")),
    (FRAMEWORKS, "sh", "pip install", "the names of the package's extras; see pyproject.toml"),
    ("docs/guides/containers.md", "yaml", "",
     (HERE, "def test_manifests")),
    ("docs/operations/runbook.md", "sh", "", (CLI, "layerfi-auth doctor")),
    (METRICS, "python", "", ("tests/python/test_metrics.py", "programs_of_the_page_run")),
    (METRICS, "sh", "pip install", "the names of the package's extras; see pyproject.toml"),
    (METRICS, "sh", "gunicorn", ("tests/python/test_metrics.py", "servers_of_the_page_export")),
    (METRICS, "rust", "", (HERE, "def test_excerpts_are_lines_of_a_tested_program")),
    ("docs/releasing.md", "sh", "", "builds everything; CI and whoever releases run it"),
    ("docs/performance.md", "sh", "", "takes half an hour; `make bench` wrote the page"),
]  # fmt: skip


def pages() -> list[str]:
    found = [ROOT / "README.md", ROOT / "python/README.md", *ROOT.glob("docs/**/*.md")]
    return sorted(str(page.relative_to(ROOT)) for page in found)


def blocks(page: str) -> list[tuple[str, str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [
        (language, re.sub(rf"^{re.escape(indent)}", "", code, flags=re.MULTILINE))
        for indent, language, code in BLOCK.findall(text)
    ]
    fences = len(re.findall(r"^[ >]*```", text, re.MULTILINE))
    assert fences == 2 * len(found), f"{page} has a block without a language, or without an end"
    return found


def of_language(page: str, language: str, text: str = "") -> list[str]:
    return [code for name, code in blocks(page) if name == language and text in code]


def claimed_by(page: str, language: str, code: str) -> list[object]:
    claims: list[object] = [
        claim for claim in CLAIMS if claim[:2] == (page, language) and claim[2] in code
    ]
    name = FILE.match(code)
    if language == "python" and name and (page, name[1]) in PROGRAMS:
        claims.append((page, name[1]))
    if page == FRAMEWORKS and name and name[1] in SERVERS:
        claims.append(name[1])
    if page == FRAMEWORKS and language == "sh" and shlex.split(code) in SERVERS.values():
        claims.append(code)
    if page.startswith(START):
        claims.append(FOLLOWED)
    return claims


def test_every_block_is_run_by_exactly_one_test():
    counted, wrong, used = 0, [], set()
    for page in pages():
        for language, code in blocks(page):
            counted += 1
            claims = claimed_by(page, language, code)
            used.update(map(str, claims))
            if len(claims) != 1:
                first = code.splitlines()[0]
                wrong.append(f"{page}: ```{language} {first!r} is run by {claims or 'no test'}")
    unused = [claim for claim in (*CLAIMS, *PROGRAMS) if str(claim) not in used]
    assert wrong == [], "\n".join(wrong)
    assert unused == [], f"these claims have no block: {unused}"
    assert counted > 60, f"only {counted} blocks were found"


def test_every_claim_names_a_test_that_exists():
    for page, language, _, where in CLAIMS:
        if isinstance(where, str):
            assert len(where) > 20, f"{page}: {language} needs a reason, not {where!r}"
            continue
        file, text = where
        source = (ROOT / file).read_text(encoding="utf-8")
        assert text in source, f"{page}: {language} is not run by {file}, which has no {text}"


SERVERS = {
    "shop_fastapi.py": ["uvicorn", "shop_fastapi:app"],
    "shop_flask.py": ["gunicorn", "--preload", "--workers", "4", "shop_flask:app"],
    "shop_django.py": ["gunicorn", "shop_django:app"],
}


def run(command, layer, directory, variables=(), **options):
    environment = {
        **os.environ,
        **layer.env(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **dict(variables),
    }
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True,
        timeout=TIMEOUT * 3, check=False, stdin=subprocess.DEVNULL, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("page", "name"), PROGRAMS, ids=[f"{Path(page).stem}-{name}" for page, name in PROGRAMS]
)
def test_program_of_the_page_runs(layer, tmp_path, page, name):
    (code,) = of_language(page, "python", f"# {name}\n")
    (tmp_path / name).write_text(code, encoding="utf-8")
    variables, expected = PROGRAMS[page, name]
    command = [sys.executable, "-W", "error", name]
    if name.startswith("test_"):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name]
    done = run(command, layer, tmp_path, variables)
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{name} of {page} failed: {output}"
    assert re.fullmatch(expected, output), f"{name} of {page} printed {output!r}"
    assert "eyJ" not in output, f"{name} of {page} printed a token"


class Browser:
    """Keeps cookies, and returns the status and the JSON of an answer."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(CookieJar())
        )

    def post(self, path, body=b"{}"):
        request = urllib.request.Request(
            self.url + path, body, {"Content-Type": "application/json"}
        )
        try:
            with self.opener.open(request, timeout=TIMEOUT) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None

    def answers(self):
        try:
            return self.post("/layer-token")[0] == 401
        except OSError:
            return False


@pytest.mark.parametrize("name", SERVERS)
def test_server_of_the_page_signs_in_and_gives_a_session(layer, tmp_path, name, monkeypatch):
    (code,) = of_language(FRAMEWORKS, "python", f"# {name}\n")
    (tmp_path / name).write_text(code, encoding="utf-8")
    port = free_port()
    monkeypatch.setenv("SHOP_KEY", "signs-the-sessions")
    # The ports of the printed commands may be in use.
    monkeypatch.setenv("UVICORN_PORT", str(port))
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"--bind 127.0.0.1:{port}")
    program, *arguments = SERVERS[name]
    command = [Path(sys.executable).parent / program, *arguments]
    with running(command, tmp_path, layer, tmp_path / "log"):
        browser = Browser(port)
        eventually(browser.answers)  # 401: nobody is signed in.
        assert browser.post("/sign-in?user=mallory")[0] == 200
        assert browser.post("/layer-token")[0] == 401, "mallory has no business"
        assert browser.post("/sign-in?user=ada")[0] == 200
        for _ in range(8):
            status, session = browser.post("/layer-token")
            assert status == 200
            assert session["business_id"] == ID
            assert session["layer_provider_props"]["businessId"] == ID
        # The business of the request's body is ignored.
        other = json.dumps({"business_id": ID.replace("3", "4")}).encode()
        assert browser.post("/layer-token", other)[1]["business_id"] == ID
    assert layer.count("token") == 1


def test_commands_of_the_emulator_guide_start(layer, tmp_path):
    commands = of_language("docs/emulator.md", "sh", "layerfi-auth emulator")
    assert len(commands) >= 4
    for command in commands:
        # Ports of the page may be in use. `timeout` ends the emulator as a reader's Ctrl-C.
        free = re.sub(r"(--(?:control-)?port) \d+", r"\1 0", command.strip())
        with subprocess.Popen(
            ["sh", "-c", f"exec {free}"], cwd=tmp_path, text=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as emulator:  # fmt: skip
            first = emulator.stdout.readline()
            emulator.terminate()
            rest = emulator.stdout.read()
        printed = first + rest
        assert "LAYER_API_URL" in printed, f"{free} printed {printed!r}"
        assert emulator.returncode == 0, f"{free} ended with {emulator.returncode}: {printed}"


def test_calls_of_the_emulator_guide_succeed(layer, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (code,) = of_language("docs/emulator.md", "sh", "curl $CONTROL")
    code = code.replace("curl ", "curl -sS --fail-with-body ")
    control = {"CONTROL": layer.control_url}
    done = run(["sh", "-e", "-c", code], layer, tmp_path, control)
    assert done.returncode == 0, f"the calls failed: {done.stdout} {done.stderr}"
    assert '"token"' in done.stdout, f"the counters were not printed: {done.stdout}"


def test_commands_of_the_dependencies_page_run(layer):
    if not shutil.which("cargo"):
        pytest.skip("cargo is not installed")
    (code,) = of_language("docs/dependencies.md", "sh")
    done = run(["sh", "-e", "-c", code], layer, ROOT)
    assert done.returncode == 0, f"the commands failed: {done.stderr}"
    assert "layerfi-auth v" in done.stdout


# Blocks that are lines of a program, which has its own test.
EXCERPTS = {(METRICS, "rust"): "examples/rust-opentelemetry/src/main.rs"}


@pytest.mark.parametrize("where", EXCERPTS, ids="-".join)
def test_excerpts_are_lines_of_a_tested_program(where):
    def words(text):
        return " ".join(text.split())

    program = words((ROOT / EXCERPTS[where]).read_text(encoding="utf-8"))
    for code in of_language(*where):
        assert words(code) in program, f"{EXCERPTS[where]} has other lines than {where[0]}"


def known_variables() -> set[str]:
    settings = (ROOT / "cli/src/settings.rs").read_text(encoding="utf-8")
    return set(re.findall(r'"(LAYER_[A-Z_]+)"', settings))


def test_manifests_use_variables_that_exist():
    known = known_variables()
    assert "LAYER_CLIENT_SECRET_FILE" in known
    for page in pages():
        for language in ("yaml", "json", "sh", "dockerfile", "ini"):
            for code in of_language(page, language):
                if language == "json" and page != "docs/emulator.md" and "…" not in code:
                    json.loads(code)
                unknown = set(re.findall(r"\bLAYER_[A-Z_]+\b", code)) - known
                assert not unknown, f"{page} sets {unknown}, which nothing reads"
