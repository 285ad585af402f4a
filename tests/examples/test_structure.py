"""Every example has a short README, a row in the table of examples, and a test."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from conftest import EXAMPLES, ROOT

LONGEST_README = 25
SUFFIXES = {".py", ".rs", ".mjs", ".ts", ".tsx"}
FOLDERS = [one for one in EXAMPLES.iterdir() if one.is_dir() and one.name != "node_modules"]
NAMES = sorted(one.name for one in FOLDERS if not one.name.startswith((".", "_")))


def sources_of_tests():
    """Return the files below the folders named test or tests, without installed packages."""
    found = []
    for place in ("tests", "cli/tests", "ffi/tests", "integrations", "examples"):
        for folder, below, files in os.walk(ROOT / place):
            below[:] = [one for one in below if one not in ("node_modules", "target", "dist")]
            parts = Path(folder).relative_to(ROOT).parts
            if {"test", "tests"}.intersection(parts):
                found += [Path(folder, one) for one in files if Path(one).suffix in SUFFIXES]
    return found


def packages(path):
    """Return the names of a file of requirements, with the extras of layerfi-auth."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    names = set()
    for line in filter(None, lines):
        if found := re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line):
            name, extras = found[1].lower(), (found[2] or "").split(",")
            names |= set(extras) - {""} if name == "layerfi-auth" else {name}
    return names


def test_examples_are_found():
    assert len(NAMES) >= 6, NAMES


@pytest.mark.parametrize("name", NAMES)
def test_example_has_a_short_readme(name):
    lines = (EXAMPLES / name / "README.md").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= LONGEST_README, f"{len(lines)} lines; at most {LONGEST_README}"


@pytest.mark.parametrize("name", NAMES)
def test_example_is_run_by_a_test(name):
    tests = sources_of_tests()
    own = [one for one in tests if EXAMPLES / name in one.parents]
    quoted = re.compile(rf"""["'/]{re.escape(name)}["'/]""")
    assert own or any(quoted.search(one.read_text()) for one in tests), (
        f"no test names examples/{name}"
    )


def test_table_has_a_row_for_each_example_and_no_other():
    table = (EXAMPLES / "README.md").read_text()
    rows = re.findall(r"^\| \[(\S+)\]\((\S+)/README\.md\) \|", table, re.MULTILINE)
    assert all(text == folder for text, folder in rows)
    named = {text for text, _ in rows}
    assert named == set(NAMES), (
        f"examples/README.md lacks {sorted(set(NAMES) - named)} "
        f"and has rows without a folder: {sorted(named - set(NAMES))}"
    )


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/requirements.txt")), ids=lambda path: path.parent.name
)
def test_packages_of_the_example_are_those_that_are_tested(path):
    tested = packages(ROOT / "tests/python/requirements.txt")
    missing = packages(path) - tested
    assert not missing, f"not in tests/python/requirements.txt: {sorted(missing)}"
