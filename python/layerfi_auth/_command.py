"""The console script ``layerfi-auth``."""

from __future__ import annotations

import signal
import sys

from layerfi_auth._native import run_command


def main() -> None:
    """Run the command, and end the process with its exit code."""
    # Python only notes a Ctrl-C and goes on with what runs; the command is to end at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_command(["layerfi-auth", *sys.argv[1:]]))
