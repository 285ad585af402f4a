"""Check what a wheel holds and wants: `check_wheel.py WHEEL`."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

MOST_BYTES = 5 * 1024 * 1024
# CentOS 7's, the oldest that a manylinux policy still in use names.
NEWEST_GLIBC = (2, 17)
FILES = {
    "layerfi_auth/__init__.py",
    "layerfi_auth/_native.abi3.so",
    "layerfi_auth/_native.pyi",
    "layerfi_auth/auth/__init__.py",
    "layerfi_auth/exceptions.py",
    "layerfi_auth/py.typed",
    "layerfi_auth/pytest_plugin.py",
    "layerfi_auth/testing.py",
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
    assert policy, shown
    assert tuple(map(int, policy.groups())) <= NEWEST_GLIBC, shown
    assert "cp310-abi3-manylinux" in wheel.name, wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= FILES, FILES - names
    # What else it put there would lie beside other packages.
    strangers = [
        name for name in names if not name.startswith(("layerfi_auth/", "layerfi_auth-"))
    ]
    assert not strangers, strangers
    assert any(name.endswith("licenses/LICENSE-MIT") for name in names), names
    size = wheel.stat().st_size
    sys.stdout.write(
        f"{wheel.name}: {size / 1024 / 1024:.2f} MiB; "
        f"auditwheel: glibc {'.'.join(policy.groups())} or later\n"
    )
    assert size <= MOST_BYTES, "too large"


main()
