"""Plays a stranger: follows each page of docs/start and prints the seconds to a token.

Each page gets an empty directory and an empty HOME. As root, all pages but Rust's are
followed by the user `nobody`, who cannot read root's tools and caches. Files of a page are
saved under the name in their first line, shell blocks are run in their order in one shell,
and a block after "In a second terminal:" in another one, whose `export` lines are pasted.

Nothing is built twice: `SUBSTITUTES` has the lines that run something else than they say.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

from waiting import port_from  # noqa: E402

PAGES = ["python", "command", "browser", "rust", "c", "cpp"]
# Longest time of a block in seconds. Only a failure takes so long.
TIMEOUT = 600.0
BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
TOKEN = re.compile(r"eyJ[\w.-]+")

# What the output must contain.
EXPECTED = {
    "python": ['WhoAmI(client_name="Layer Example"', "<AccessToken [redacted]", "True\n",
               f"<BusinessToken [redacted] for {BUSINESS}"],
    "command": ["All checks passed.", '"clientName":"Layer Example"', '"access_token":"eyJ'],
    "browser": ["signed-out", f"ready, business {BUSINESS}"],
    "rust": ["Layer Example (", "AccessToken", BUSINESS],
    "c": ["got a header of ", " bytes for http://127.0.0.1:"],
    "cpp": ["Layer Example\n", "got a header of ", "1 business token\n"],
}  # fmt: skip
# The only page whose program prints a token: that is what it is for.
MAY_PRINT_TOKENS = "command"

BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
FILE = re.compile(r"(?:#|//|/\*|<!--) ([\w./]+\.\w+)\b")


class Failed(Exception):
    pass


def blocks(page: str):
    """Return the sentence before each block, its language and its text."""
    text = (ROOT / "docs/start" / f"{page}.md").read_text(encoding="utf-8")
    found = [(m["before"], m["language"], m["code"]) for m in BLOCK.finditer(text)]
    if len(found) != text.count("\n```") / 2:
        raise Failed(f"docs/start/{page}.md has a block without a sentence before it")
    return found


class Shell:
    """A terminal: a shell that runs blocks one after another."""

    def __init__(self, directory: Path, who: dict, environment: dict):
        self.directory = directory
        self.text = ""
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            ["bash", "-e"], cwd=directory, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **who,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self.changed:
                self.text += line.decode(errors="replace")
                self.changed.notify_all()
        with self.changed:
            self.text += "\n[the shell has ended]\n"
            self.changed.notify_all()

    def start(self, code: str) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.directory, delete=False) as file:
            file.write(code)
        Path(file.name).chmod(0o644)
        self.process.stdin.write(f". {file.name} </dev/null\n".encode())
        self.process.stdin.flush()

    def wait(self, wanted: str) -> None:
        def found() -> bool:
            return wanted in self.text or "[the shell has ended]" in self.text

        with self.changed:
            if not self.changed.wait_for(found, TIMEOUT):
                raise Failed(f"the shell did not print {wanted!r} within {TIMEOUT:.0f} s")
            if wanted not in self.text:
                raise Failed("a command failed")

    def run(self, code: str) -> None:
        done = f"[block {os.urandom(6).hex()} done]"
        self.start(f"{code}\necho; echo '{done}'\n")
        self.wait(done)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Stranger:
    """One page, one empty directory, one user."""

    def __init__(self, page: str, options: argparse.Namespace, directory: Path):
        self.page, self.options, self.directory = page, options, directory
        self.work, self.given = directory / "work", directory / "given"
        for folder in (self.work, self.given, directory / "home"):
            folder.mkdir()
        self.port = port_from(30_000)
        self.who: dict = {}
        path = f"{Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        if os.getuid() == 0 and page != "rust":
            nobody = pwd.getpwnam("nobody")
            self.who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            path = "/usr/local/bin:/usr/bin:/bin"
        self.environment = {
            "HOME": str(directory / "home"),
            "PATH": path,
            "LANG": "C.UTF-8",
            "TMPDIR": str(directory / "home"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "npm_config_update_notifier": "false",
        }
        for name in ("PIP_INDEX_URL", "npm_config_registry", "PIP_CERT", "HTTPS_PROXY",
                     "NO_PROXY", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):  # fmt: skip
            if name in os.environ:
                self.environment[name] = os.environ[name]
        self.prepare()
        self.shells: list[Shell] = []

    def prepare(self) -> None:
        """Give the stranger what the substituted lines need."""
        wheel = self.given / self.options.wheel.name
        shutil.copy(self.options.wheel, wheel)
        self.substitutes = {
            "pip install ./layerfi-auth/python": f"pip install --quiet --no-index {wheel}",
            "make -C layerfi-auth npm-packages": "true  # the packages are packed already",
            'make -C layerfi-auth lib install PREFIX="$HOME/layerfi"': (
                f'sh {self.given}/install "$HOME/layerfi"'
            ),
            "uvicorn shop:app --port 8000": f"uvicorn shop:app --port {self.port}",
        }  # fmt: skip
        if self.page in ("c", "cpp"):
            # The development build, installed for the stranger's prefix in a folder that is
            # copied there.
            built, prefix = self.given / "built", self.directory / "home/layerfi"
            places = {"OUT": built, "BUILT": built, "FROM": self.options.target,
                      "PREFIX": prefix, "DESTDIR": self.given / "root"}  # fmt: skip
            environment = {**os.environ, "SHARED_CACHE": "1"}
            environment |= {name: str(place) for name, place in places.items()}
            for script in ("build.sh", "install.sh"):
                subprocess.run(
                    ["sh", ROOT / "ffi" / script],
                    check=True, stdout=subprocess.DEVNULL, env=environment,
                )  # fmt: skip
            installed = f"{self.given / 'root'}{prefix}"
            (self.given / "install").write_text(f'cp -r {installed} "$1"\n')
        if self.page == "browser":
            packed = self.work / "layerfi-auth/js/build"
            packed.mkdir(parents=True)
            for package in (ROOT / "js/build").glob("*.tgz"):
                shutil.copy(package, packed)
        if self.page == "rust":
            (self.work / "layerfi-auth").symlink_to(ROOT)
            home = Path.home()
            self.environment |= {
                "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
                "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
                "PATH": os.environ["PATH"],
                # Most dependencies are those of the tests, which have no debug information.
                "CARGO_TARGET_DIR": str(self.options.target.parent),
                "CARGO_PROFILE_DEV_DEBUG": "0",
                "CARGO_TERM_COLOR": "never",
            }
        if self.page not in ("python", "command", "browser"):
            # These pages say that the command is installed before.
            command = self.given / "bin"
            python = "/usr/bin/python3" if self.who else sys.executable
            subprocess.run([python, "-m", "venv", command], check=True)
            subprocess.run(
                [command / "bin/pip", "install", "--quiet", "--no-index", wheel], check=True
            )
            self.environment["PATH"] += f":{command}/bin"
        if self.who:
            for folder, folders, files in os.walk(self.directory):
                for name in (".", *folders, *files):
                    os.chown(
                        Path(folder) / name, self.who["user"], self.who["group"],
                        follow_symlinks=False,
                    )  # fmt: skip

    def substitute(self, line: str) -> str:
        return self.substitutes.get(line.strip()) or line

    def shell(self) -> Shell:
        shell = Shell(self.work, self.who, self.environment)
        self.shells.append(shell)
        return shell

    def save(self, code: str) -> None:
        name = FILE.match(code)
        if name is None:
            raise Failed(f"the first line of a file has no name: {code.splitlines()[0]}")
        # A new shell's directory may have been left by `cd`.
        folder = self.work / "invoices" if name[1].startswith("src/") else self.work
        file = folder / name[1]
        file.write_text(code, encoding="utf-8")

    def follow(self) -> str:
        """Follow the page and return what was printed."""
        terminal = self.shell()
        for before, language, code in blocks(self.page):
            if language != "sh":
                self.save(code)
                continue
            lines = [self.substitute(line) for line in code.splitlines()]
            if before == "In a second terminal:":
                second = self.shell()
                second.start("\n".join(lines))
                second.wait("auth-token")
                exports = re.findall(r"^export LAYER_.*$", second.text, re.MULTILINE)
                if not exports:
                    raise Failed("the emulator printed no export lines")
                terminal.run("\n".join(exports))
            elif lines[-1].startswith("uvicorn"):
                terminal.start("\n".join(lines))
                return self.look_at_the_page(terminal)
            else:
                terminal.run("\n".join(lines))
        return terminal.text

    def look_at_the_page(self, terminal: Shell) -> str:
        """Open the page in Chromium before and after the sign-in."""
        url = f"http://127.0.0.1:{self.port}/"
        until = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(url, timeout=60):
                    break
            except (urllib.error.URLError, OSError):
                if time.monotonic() > until or "[the shell has ended]" in terminal.text:
                    raise Failed("the backend did not start") from None
                time.sleep(0.05)
        pages = [self.dump(url), self.dump(f"{url}sign-in?user=ada")]
        found = [re.search(r'<p id="status">(.*?)</p>', page) for page in pages]
        return terminal.text + "".join(f"{one[1]}\n" for one in found if one)

    def dump(self, url: str) -> str:
        """Return the page as Chromium has it after its scripts have run."""
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        if not chromium:
            raise Failed("Chromium is missing: run make setup-browser, or set CHROMIUM")
        profile = tempfile.mkdtemp(dir=self.directory / "home")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu",
                   "--disable-dev-shm-usage", f"--user-data-dir={profile}",
                   "--virtual-time-budget=5000", "--dump-dom", url]  # fmt: skip
        if self.who:
            os.chown(profile, self.who["user"], self.who["group"])
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False,
            timeout=TIMEOUT, **self.who,
        )  # fmt: skip
        return done.stdout

    def output(self) -> str:
        text = "\n".join(shell.text for shell in self.shells)
        return TOKEN.sub("[a token]", text)

    def end(self) -> None:
        for shell in self.shells:
            shell.end()


def follow(page: str, options: argparse.Namespace) -> str | None:
    """Follow a page, print its time, and return what went wrong."""
    with tempfile.TemporaryDirectory(prefix="stranger-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        stranger = Stranger(page, options, Path(name))
        started = time.monotonic()
        try:
            text = stranger.follow()
            seconds = time.monotonic() - started
            missing = [part for part in EXPECTED[page] if part not in text]
            if missing:
                raise Failed(f"the output does not contain {missing}")
            if page != MAY_PRINT_TOKENS and TOKEN.search(text):
                raise Failed("the output contains a token")
        except Failed as error:
            return f"docs/start/{page}.md: {error}. It printed:\n{stranger.output()}"
        finally:
            stranger.end()
    user = "nobody" if stranger.who else "this user, with an empty HOME"
    print(f"docs/start/{page}.md: a token after {seconds:.1f} s, as {user}", flush=True)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True, help="folder of the debug build")
    parser.add_argument("pages", nargs="*", default=PAGES)
    options = parser.parse_args()
    options.target = options.target.resolve()
    written = {file.stem for file in (ROOT / "docs/start").glob("*.md")} - {"index"}
    if written != set(PAGES):
        sys.exit(f"PAGES must be the pages of docs/start: {sorted(written)}")
    failures = [failure for page in options.pages if (failure := follow(page, options))]
    sys.exit("\n".join(failures) if failures else 0)


if __name__ == "__main__":
    main()
