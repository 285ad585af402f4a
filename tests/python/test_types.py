"""Annotations and stubs: what editors, type checkers and `typing.get_type_hints` show."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import typing
from collections import Counter
from pathlib import Path
from types import TracebackType

import pytest

import layerfi_auth
from conftest import BUSINESS
from layerfi_auth import Client, LayerAuthError, _native, types
from layerfi_auth.testing import Emulator

PACKAGE = Path(layerfi_auth.__file__).parent
CASES = Path(__file__).with_name("typing_cases.py")
MODULES = {
    "layerfi_auth": None,
    "layerfi_auth.auth": None,
    "layerfi_auth.auth._httpx": "httpx",
    "layerfi_auth.auth._httpx2": "httpx2",
    "layerfi_auth.auth._httpx_flow": None,
    "layerfi_auth.auth._requests": "requests",
    "layerfi_auth.auth._aiohttp": "aiohttp",
    "layerfi_auth.exceptions": None,
    "layerfi_auth.testing": None,
    "layerfi_auth.types": None,
}


def stubs():
    """The public classes of the native module's stub, and their members."""
    for node in ast.parse((PACKAGE / "_native.pyi").read_text()).body:
        if isinstance(node, ast.ClassDef) and hasattr(layerfi_auth, node.name):
            yield node.name, node, getattr(_native, node.name)
        elif isinstance(node, ast.ClassDef) and node.name == "Emulator":
            yield node.name, node, _native.Emulator


def test_stubs_have_the_docstrings_of_the_native_module():
    compared, wrong = 0, []
    for name, stub, cls in stubs():
        members = {one.name: one for one in stub.body if isinstance(one, ast.FunctionDef)}
        pairs = [(name, stub, cls)]
        for member, value in vars(cls).items():
            if not member.startswith("_"):
                pairs.append((f"{name}.{member}", members[member], value))
        for where, node, value in pairs:
            value = getattr(value, "__func__", value)
            compared += 1
            if ast.get_docstring(node) != inspect.getdoc(value) or not inspect.getdoc(value):
                wrong.append(where)
    assert wrong == [], f"_native.pyi has other docstrings than the module: {wrong}"
    assert compared > 70, f"only {compared} docstrings were compared"


EXAMPLE = re.compile(r"^For example:\n\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)


def test_examples_that_editors_show_run(layer, monkeypatch):
    for name, value in layer.env().items():
        monkeypatch.setenv(name, value)
    shown = []
    for name in dir(Client):
        doc = inspect.getdoc(getattr(Client, name)) or ""
        for example in EXAMPLE.findall(f"{doc}\n"):
            shown.append(name)
            names = {"Client": Client, "client": layer.client(), "business_id": BUSINESS}
            exec(compile(inspect.cleandoc(f"\n{example}"), name, "exec"), names)
    main = {"authorization", "business_token", "from_env", "prepare", "renew_token", "token"}
    assert main <= set(shown), f"no example is shown for {sorted(main - set(shown))}"


def public_functions():
    for module_name, library in MODULES.items():
        if library is not None and importlib.util.find_spec(library) is None:
            continue
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", dir(module))
        for name in names:
            one = getattr(module, name)
            if not getattr(one, "__module__", "").startswith("layerfi_auth"):
                continue
            if inspect.isfunction(one):
                yield f"{module_name}.{name}", one
            if not inspect.isclass(one):
                continue
            yield f"{module_name}.{name}", one
            for member, value in (
                inspect.getmembers_static(one)
                if hasattr(inspect, "getmembers_static")
                else [(n, inspect.getattr_static(one, n)) for n in dir(one)]
            ):
                value = getattr(value, "fget", value)
                value = getattr(value, "__func__", value)
                if callable(value) and not inspect.isclass(value):
                    yield f"{module_name}.{name}.{member}", value


def test_annotations_of_everything_public_can_be_evaluated():
    evaluated, failed = 0, {}
    for where, one in public_functions():
        try:
            evaluated += len(typing.get_type_hints(one))
        except TypeError as error:
            # Native methods have no annotations.
            if "is not a module, class, method, or function" not in str(error):
                failed[where] = error
        except NameError as error:
            failed[where] = error
    assert failed == {}
    assert evaluated > 100, f"only {evaluated} annotations were evaluated"


def test_evaluated_annotations_are_the_right_types():
    hints = typing.get_type_hints(Emulator.client)
    assert hints["return"] is Client
    options = hints["options"]
    assert types.ClientOptions in (options, *typing.get_args(options))
    assert typing.get_type_hints(Emulator.__enter__)["return"] is Emulator
    assert TracebackType in typing.get_args(
        typing.get_type_hints(Emulator.__exit__)["traceback"]
    )
    assert typing.get_type_hints(Client.token_async)["return"] is layerfi_auth.AccessToken
    assert typing.get_type_hints(LayerAuthError)["attempts"] is int
    kinds = {one.kind for one in vars(layerfi_auth).values() if inspect.isclass(one)
             and issubclass(one, LayerAuthError)}  # fmt: skip
    assert set(typing.get_args(types.ErrorKind)) == kinds
    for name in typing.get_args(types.Environment):
        if name != "custom":
            assert (
                Client(environment=name, client_id="a", client_secret="b").environment == name
            )
    assert set(typing.get_type_hints(types.ClientOptions)) == set(
        inspect.signature(Client).parameters
    )


def test_type_checker_accepts_correct_code_and_finds_mistakes(tmp_path):
    pytest.importorskip("mypy", reason="mypy is only installed for one interpreter")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary",
         "--cache-dir", tmp_path, "--config-file", "", CASES.name],
        cwd=CASES.parent, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    expected, found = Counter(), Counter()
    for number, line in enumerate(CASES.read_text().splitlines(), 1):
        codes = re.search(r"# E: ([\w, -]+)$", line)
        for code in codes.group(1).split(", ") if codes else ():
            expected[number, code] = 1
    for line in done.stdout.splitlines():
        error = re.match(r"typing_cases\.py:(\d+): error: .*\[([\w-]+)\]$", line)
        if error:
            found[int(error.group(1)), error.group(2)] = 1
    assert len(expected) > 30
    assert found == expected, (
        f"missing errors: {sorted(expected - found)}; "
        f"other errors: {sorted(found - expected)}; mypy printed {done.stdout} {done.stderr}"
    )


def test_pyright_accepts_correct_code_and_finds_mistakes(tmp_path):
    pytest.importorskip("basedpyright", reason="pyright is only installed for one interpreter")
    config = {"typeCheckingMode": "strict", "reportUnusedExpression": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    (tmp_path / CASES.name).write_text(CASES.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable,
         "--project", tmp_path],
        capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    found = {
        one["range"]["start"]["line"] + 1: one["message"]
        for one in json.loads(done.stdout)["generalDiagnostics"]
        if one["severity"] == "error"
    }
    expected = {
        number
        for number, line in enumerate(CASES.read_text().splitlines(), 1)
        if re.search(r"# E: [\w, -]+$", line)
    }
    assert len(expected) > 30
    others = {number: text for number, text in found.items() if number not in expected}
    assert others == {}, f"pyright does not accept correct code: {others}"
    assert set(found) == expected, f"pyright misses lines {sorted(expected - set(found))}"
