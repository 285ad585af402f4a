"""Tests of `scripts/release-check` and of the files in `.github/workflows`."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from conftest import ROOT, TIMEOUT

SCRIPT = ROOT / "scripts/release-check"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """Return a copy of the repository, which a test may change."""
    folder = tmp_path_factory.mktemp("repository")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        source = ROOT / name
        if source.exists() or source.is_symlink():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=not source.is_symlink())
    return folder


def release_check(folder, *arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        env=os.environ | {"LAYERFI_RELEASE_ROOT": str(folder)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def test_release_check_accepts_the_versions_of_the_repository(copied):
    checked = release_check(copied, "versions")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "expected"),
    [
        (
            "include/layerfi_auth.h",
            r'LAYERFI_VERSION ".*"',
            'LAYERFI_VERSION "9.9.9"',
            "include/layerfi_auth.h has version 9.9.9",
        ),
        (
            "js/layerfi-auth-react/package.json",
            r'"version": ".*"',
            '"version": "9.9.9"',
            "package.json has version 9.9.9",
        ),
        (
            "js/layerfi-auth-react/package.json",
            r'"layerfi-auth-browser": "\^.*"',
            '"layerfi-auth-browser": "^9.9.9"',
            r"wants layerfi-auth-browser ^9.9.9",
        ),
        (
            "cli/Cargo.toml",
            r"version.workspace = true",
            'version = "9.9.9"',
            "cli/Cargo.toml has version 9.9.9",
        ),
        (
            "Cargo.toml",
            r'(layerfi-auth = .*version = )".*"',
            r'\1"0.0.9"',
            "Cargo.toml wants layerfi-auth 0.0.9",
        ),
        (
            "Cargo.lock",
            r'name = "layerfi-auth-cli"\nversion = ".*"',
            'name = "layerfi-auth-cli"\nversion = "9.9.9"',
            "Cargo.lock has layerfi-auth-cli 9.9.9",
        ),
        (
            "CHANGELOG.md",
            r"## Unreleased",
            "## 9.9.9 - 2026-01-01",
            'the first section of CHANGELOG.md is "9.9.9 - 2026-01-01"',
        ),
        (
            "core/Cargo.toml",
            r"description = .*",
            "",
            "layerfi-auth has no description",
        ),
        (
            "cli/Cargo.toml",
            r'layerfi-auth-test-support = \{ path = "../tests/support" \}',
            "layerfi-auth-test-support.workspace = true",
            "layerfi-auth-cli depends on layerfi-auth-test-support, which is not published",
        ),
    ],
)
def test_release_check_finds_what_is_not_in_step(copied, file, pattern, replacement, expected):
    path = copied / file
    before = path.read_text()
    after, count = re.subn(pattern, replacement, before, count=1)
    assert count == 1, f"{file} does not contain {pattern}"
    path.write_text(after)
    try:
        checked = release_check(copied, "versions")
    finally:
        path.write_text(before)
    assert checked.returncode == 1, f"not found: {expected}"
    assert expected in checked.stderr, checked.stderr


def test_release_check_of_a_release_wants_a_date_in_the_changelog(copied):
    checked = release_check(copied, "--release", "versions")
    assert checked.returncode == 1
    assert "it must be" in checked.stderr
    assert "YYYY-MM-DD" in checked.stderr


@pytest.fixture(scope="module")
def script():
    loader = importlib.machinery.SourceFileLoader("release_check", str(SCRIPT))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("release_check", loader)
    )
    loader.exec_module(module)
    return module


OLD_ABI = "version 1.5\nvoid a(void)\nstruct layerfi_stats size 8\n"


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (OLD_ABI, None),
        (
            "version 1.5\nvoid a(int)\nstruct layerfi_stats size 8\n",
            "'void a(void)' was",
        ),
        ("version 2.0\nvoid a(int)\nstruct layerfi_stats size 8\n", None),
        (OLD_ABI + "void b(void)\n", "LAYERFI_ABI_REVISION must be raised"),
        (OLD_ABI.replace("1.5", "1.6") + "void b(void)\n", None),
        ("version 1.6\nvoid a(void)\nstruct layerfi_stats size 16\n", None),
    ],
)
def test_release_check_wants_the_numbers_of_the_abi_to_grow(script, new, expected):
    found = " ".join(script.compare_abi(OLD_ABI, new))
    assert bool(found) == bool(expected), found
    assert (expected or "") in found


def test_release_check_orders_crates_after_their_dependencies(script):
    names = [package["name"] for package in script.published(script.metadata())]
    assert names.index("layerfi-auth") < names.index("layerfi-auth-cli")
    assert names.index("layerfi-auth-emulator") < names.index("layerfi-auth-cli")
    assert not any("test" in name for name in names), f"a crate of tests is published: {names}"


def commands(workflow):
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            yield from re.split(r"&&|\n|;", step.get("run", ""))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_is_valid_and_calls_what_exists(path):
    text = path.read_text()
    assert "has not been run there" in text, f"{path.name} does not say that it was not run"
    workflow = yaml.safe_load(text)
    # YAML reads the key `on` as true.
    assert workflow[True], f"{path.name} never runs"
    assert workflow["permissions"] == {"contents": "read"}
    rules = "".join(
        file.read_text()
        for pattern in ("Makefile", "*/rules.mk", "*/*/rules.mk")
        for file in ROOT.glob(pattern)
    )
    for command in commands(workflow):
        words = command.split()
        if words[:1] == ["make"]:
            targets = [word for word in words[1:] if "=" not in word]
            missing = [name for name in targets if f"\n{name}:" not in rules]
            assert not missing, f"{path.name} calls make {missing}, which does not exist"
        elif words and words[0].startswith((".", "scripts/")):
            assert os.access(ROOT / words[0], os.X_OK), f"{path.name} calls {words[0]}"
    for job, settings in workflow["jobs"].items():
        assert settings["timeout-minutes"], f"the job {job} has no time limit"
        for step in settings["steps"]:
            action = step.get("uses", "@1.0.0")
            assert re.search(r"@v?\d+\.\d+\.\d+$", action), f"{action} has no exact version"


def test_workflows_use_the_oldest_rust_that_the_crates_name():
    ci = next(path for path in WORKFLOWS if path.name == "ci.yml").read_text()
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--offline", "--format-version=1"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT,
    ).stdout
    versions = {package["rust_version"] for package in json.loads(metadata)["packages"]}
    for version in versions - {None}:
        assert f"dtolnay/rust-toolchain@{version}.0" in ci, f"no job of ci.yml has {version}"


def test_workflows_exist():
    assert [path.name for path in WORKFLOWS] == ["advisories.yml", "ci.yml", "release.yml"]
