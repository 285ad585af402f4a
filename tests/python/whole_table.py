"""The whole table in one process, with every log on, for `test_footprint.py`.

Runs each case through the blocking and the async calls (over TLS through the async ones),
emulators in the same process, and prints what became of it as JSON. Argument: `plain` or `tls`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path

import sight
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET
from test_vectors import CASES, Async, Blocking, fits_tls, run_case

WORKERS = 8
# For an emulator to start and a machine to be busy.
SLACK = 10.0


def memory(name):
    """A figure of this process's, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def most_time(case):
    """What all calls of a case may take together, by the client's own timeout."""
    timeout = case.get("client", {}).get("timeout_ms", 30_000) / 1000
    return timeout * sum(step.get("repeat", 1) for step in case["steps"]) + SLACK


def secrets_of(cases):
    secrets = sight.Secrets()
    secrets.add_credentials(CLIENT_ID, CLIENT_SECRET)
    for case in cases:
        if secret := case.get("client", {}).get("client_secret"):
            secrets.add_credentials(case["client"].get("client_id") or CLIENT_ID, secret)
        for one in case.get("emulator", {}).get("clients", []):
            secrets.add_credentials(one["id"], one["secret"])
    return secrets


class Watch(logging.Handler):
    """Looks at every record of every logger, all of it, and keeps none."""

    def __init__(self, secrets):
        super().__init__(logging.NOTSET)
        self.secrets = secrets
        self.names = {}
        self.shows = []

    def emit(self, record):
        self.names[record.name] = self.names.get(record.name, 0) + 1
        what = self.secrets.seen_in(f"{self.format(record)} {vars(record)}")
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
        todo = [(case, face) for case in cases for face in (Blocking(), Async())]
    # The first ones pay for what is made once per process.
    for case, face in todo[:2]:
        run_case(case, face, tls=tls)
    before = memory("VmRSS:")
    failed, late = [], []
    number = len(todo)

    def work():
        while True:
            try:
                case, face = todo.pop()
            except IndexError:
                return
            started = time.monotonic()
            try:
                run_case(case, face, tls=tls)
            except BaseException as error:  # noqa: BLE001
                failed.append([case["name"], type(face).__name__, str(error)])
            if time.monotonic() - started > most_time(case):
                late.append([case["name"], type(face).__name__])

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = {
        "runs": number,
        "grown_kib": memory("VmHWM:") - before,
        "failed": failed,
        "late": late,
        "records": watch.names,
        "shows": watch.shows,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
