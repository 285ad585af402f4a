"""Check a wheel's files, size and glibc version: `check_wheel.py WHEEL`."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

MAX_BYTES = 5 * 1024 * 1024
# The glibc of CentOS 7: the oldest of all manylinux policies in use.
MAX_GLIBC = (2, 17)
FILES = {
    "layerfi_auth/__init__.py",
    "layerfi_auth/_native.abi3.so",
    "layerfi_auth/_native.pyi",
    "layerfi_auth/auth/__init__.py",
    "layerfi_auth/exceptions.py",
    "layerfi_auth/metrics/__init__.py",
    "layerfi_auth/py.typed",
    "layerfi_auth/testing.py",
    "layerfi_auth_pytest/__init__.py",
}


def main() -> None:
    (wheel,) = map(Path, sys.argv[1:])
    shown = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", str(wheel)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    policy = re.search(r"following\s+platform\s+tag:\s+\"manylinux_(\d+)_(\d+)_", shown)
    assert policy, f"auditwheel names no platform tag: {shown}"
    assert tuple(map(int, policy.groups())) <= MAX_GLIBC, (
        f"the wheel needs a newer glibc than {MAX_GLIBC}: {shown}"
    )
    assert "cp310-abi3-manylinux" in wheel.name, f"{wheel.name} has another tag"
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= FILES, f"files are missing: {FILES - names}"
    # Any other file would be installed next to other packages.
    own = ("layerfi_auth/", "layerfi_auth_pytest/", "layerfi_auth-")
    others = [name for name in names if not name.startswith(own)]
    assert not others, f"the wheel has files outside the packages: {others}"
    assert any(name.endswith("licenses/LICENSE-MIT") for name in names), "no licence"
    size = wheel.stat().st_size
    sys.stdout.write(
        f"{wheel.name}: {size / 1024 / 1024:.2f} MiB; "
        f"auditwheel: glibc {'.'.join(policy.groups())} or later\n"
    )
    assert size <= MAX_BYTES, f"the wheel has {size} bytes, at most {MAX_BYTES} are allowed"


main()
