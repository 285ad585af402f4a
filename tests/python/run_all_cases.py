"""Runs all cases of the table in one process with all logging on, for `test_footprint.py`.

Runs each case with the blocking and the async calls (over TLS only with the async ones), with
the emulators in the same process, and prints a report as JSON. Argument: `plain` or `tls`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path

import secret_scanner
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET
from test_vectors import CASES, Async, Blocking, fits_tls, run_case

WORKERS = 8
# Seconds for starting an emulator, and for a busy machine.
SLACK = 60.0


def memory(name):
    """A field of this process's status, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def max_time(case):
    """Longest time of all calls of a case, by the client's timeout."""
    timeout = case.get("client", {}).get("timeout_ms", 30_000) / 1000
    return timeout * sum(step.get("repeat", 1) for step in case["steps"]) + SLACK


def secrets_of(cases):
    secrets = secret_scanner.Secrets()
    secrets.add_credentials(CLIENT_ID, CLIENT_SECRET)
    for case in cases:
        if secret := case.get("client", {}).get("client_secret"):
            secrets.add_credentials(case["client"].get("client_id") or CLIENT_ID, secret)
        for one in case.get("emulator", {}).get("clients", []):
            secrets.add_credentials(one["id"], one["secret"])
    return secrets


class Watch(logging.Handler):
    """Checks every record of every logger and keeps none."""

    def __init__(self, secrets):
        super().__init__(logging.NOTSET)
        self.secrets = secrets
        self.names = {}
        self.shows = []

    def emit(self, record):
        self.names[record.name] = self.names.get(record.name, 0) + 1
        what = self.secrets.found_in(f"{self.format(record)} {vars(record)}")
        if what is not None:
            self.shows.append([what, record.levelname, record.pathname, record.lineno])


def main(transport):
    tls = transport == "tls"
    cases = [case.values[0] for case in CASES]
    watch = Watch(secrets_of(cases))
    logging.basicConfig(level=1, handlers=[watch])
    logging.getLogger("layerfi_auth").setLevel(1)
    if tls:
        todo = [(case, Async()) for case in cases if fits_tls(case)]
    else:
        todo = [(case, calls) for case in cases for calls in (Blocking(), Async())]
    # The first cases allocate what is allocated once per process.
    for case, calls in todo[:2]:
        run_case(case, calls, tls=tls)
    before = memory("VmRSS:")
    failed, late = [], []
    number = len(todo)

    def work():
        while True:
            try:
                case, calls = todo.pop()
            except IndexError:
                return
            started = time.monotonic()
            try:
                run_case(case, calls, tls=tls)
            except BaseException as error:  # noqa: BLE001
                failed.append([case["name"], type(calls).__name__, str(error)])
            if time.monotonic() - started > max_time(case):
                late.append([case["name"], type(calls).__name__])

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = {
        "runs": number,
        "grown_kib": memory("VmHWM:") - before,
        "failed": failed,
        "late": late,
        "records": watch.names,
        "shows": watch.shows,
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
