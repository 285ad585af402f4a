"""The console script ``layerfi-auth``."""

from __future__ import annotations

import signal
import sys

from layerfi_auth._native import run_command


def main() -> None:
    """Run the command and exit with its exit code."""
    # Python's own handler would run only after the native call has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_command(["layerfi-auth", *sys.argv[1:]]))
