"""Prometheus metrics of servers with several processes."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Literal

from prometheus_client import Counter, Gauge

from layerfi_auth._client import Client
from layerfi_auth.metrics._table import METRICS, Clients, Metric, measure

__all__ = ["MultiprocessExporter"]

_LOGGER = logging.getLogger("layerfi_auth")

INTERVAL = 5.0
"""Seconds between two writes."""

_Sample = tuple[Metric, tuple[str, ...]]


class MultiprocessExporter:
    """Writes the metrics of a client to the directory ``PROMETHEUS_MULTIPROC_DIR``.

    For servers with several processes, such as gunicorn, where
    ``prometheus_client.multiprocess.MultiProcessCollector`` adds up the metrics of all
    processes. It ignores collectors such as `LayerAuthCollector`. Make the exporter where the
    client is made. A thread writes every 5 seconds and at the end of the process, also in
    workers that are forked later. The exporter does not keep the client alive, and does not
    need to be kept itself.

    :param client: the client.
    :param name: the value of the label ``client``, for programs with several clients. Without
        a name there is no such label.
    """

    def __init__(self, client: Client, *, name: str | None = None) -> None:
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            raise RuntimeError(
                "PROMETHEUS_MULTIPROC_DIR is not set; set it to an empty directory before the "
                "program starts, or use LayerAuthCollector in a server with one process"
            )
        self._writer = _Writer(client, name)
        with _LOCK:
            _CLIENTS.add(client, name)
            _WRITERS.append(self._writer)
            self._writer.write()
            _start()

    def write(self) -> None:
        """Write the current values of this process now."""
        with _LOCK:
            self._writer.write()


class _Writer:
    def __init__(self, client: Client, name: str | None) -> None:
        self.name = name or ""
        self.client = weakref.ref(client)
        self.written: dict[_Sample, float] = {}

    def write(self) -> bool:
        """Write the current values; return whether the client still exists."""
        client = self.client()
        if client is None:
            return False
        for (metric, values), value in self.samples(client):
            family = _family(metric, is_named=bool(self.name))
            one = family.labels(*values) if values else family
            if isinstance(one, Gauge):
                one.set(value)
            else:
                sample = (metric, values)
                one.inc(value - self.written.get(sample, 0))
                self.written[sample] = value
        return True

    def samples(self, client: Client) -> Iterator[tuple[_Sample, float]]:
        stats = client.stats()
        name = (self.name,) if self.name else ()
        for metric in METRICS:
            for attributes, value in measure(metric, stats):
                yield (metric, (*name, *attributes.values())), value

    def start_in_child(self) -> None:
        """Count from now on: what the parent counted is in the parent's file."""
        client = self.client()
        self.written = dict(self.samples(client)) if client else {}


_CLIENTS = Clients()
_WRITERS: list[_Writer] = []
_FAMILIES: dict[tuple[str, bool], Counter | Gauge] = {}
# No fork happens while it is held, so a child never inherits a lock of prometheus_client.
_LOCK = threading.Lock()
_thread: threading.Thread | None = None


def _family(metric: Metric, *, is_named: bool) -> Counter | Gauge:
    key = (metric.name, is_named)
    family = _FAMILIES.get(key)
    if family is None:
        labels = (*(("client",) if is_named else ()), *metric.labels)
        name = metric.prometheus_name
        if metric.kind == "counter":
            family = Counter(name, metric.help, labels, registry=None)
        else:
            is_sum = metric.kind == "sum"
            mode: Literal["livesum", "livemax"] = "livesum" if is_sum else "livemax"
            family = Gauge(name, metric.help, labels, registry=None, multiprocess_mode=mode)
        _FAMILIES[key] = family
    return family


def _write_all() -> None:
    with _LOCK:
        _WRITERS[:] = [writer for writer in _WRITERS if writer.write()]


def _run() -> None:
    has_failed = False
    while True:
        time.sleep(INTERVAL)
        try:
            _write_all()
            has_failed = False
        except (OSError, ValueError) as error:
            # Once, and not every 5 seconds, because the disk may be full for hours.
            if not has_failed:
                _LOGGER.warning("metrics were not written; trying again: %s", error)
            has_failed = True


def _start() -> None:
    global _thread
    if _thread is None and _WRITERS:
        _thread = threading.Thread(target=_run, name="layerfi-auth-metrics", daemon=True)
        _thread.start()


def _after_fork_in_child() -> None:
    global _thread
    _thread = None
    _LOCK.release()
    for writer in _WRITERS:
        writer.start_in_child()
    _start()


os.register_at_fork(
    before=_LOCK.acquire,
    after_in_parent=_LOCK.release,
    after_in_child=_after_fork_in_child,
)
atexit.register(_write_all)
