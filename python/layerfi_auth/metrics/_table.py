"""The table of all metrics. The exporters, docs/metrics.md and the tests are made from it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Literal, NamedTuple, get_args

from layerfi_auth._client import Client
from layerfi_auth._native import Stats
from layerfi_auth._types import ErrorKind

__all__ = ["ERROR_TYPE", "LEFT_OUT", "METRICS", "Clients", "Metric", "measure"]

ERROR_TYPE = "error.type"
"""The attribute with the kind of a failure. OpenTelemetry's conventions have this name."""


class Metric(NamedTuple):
    """A metric that is made from a field of a client's statistics."""

    name: str
    """The name in OpenTelemetry, such as ``layerfi.auth.token.requests``."""
    kind: Literal["counter", "gauge", "sum"]
    """``sum`` is a gauge that can be added up over processes."""
    unit: str
    """The unit in OpenTelemetry, in the notation of UCUM."""
    field: str
    """The attribute of `Stats`."""
    help: str
    """What it counts or measures."""

    @property
    def prometheus_name(self) -> str:
        """The name in Prometheus, such as ``layerfi_auth_token_requests_total``.

        It is made by OpenTelemetry's rules for Prometheus, so that exporters of OpenTelemetry
        make the same one.
        """
        name = self.name.replace(".", "_")
        if self.unit == "s":
            name += "_seconds"
        return f"{name}_total" if self.kind == "counter" else name

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in Prometheus, in addition to ``client``."""
        return (ERROR_TYPE.replace(".", "_"),) if self.field == "failures" else ()


METRICS: tuple[Metric, ...] = (
    Metric(
        "layerfi.auth.cache.hits", "counter", "{call}", "hits",
        "Calls that returned a cached token at once.",
    ),
    Metric(
        "layerfi.auth.cache.stale_hits", "counter", "{call}", "stale_serves",
        "Hits while a refresh was due, running or failing.",
    ),
    Metric(
        "layerfi.auth.cache.misses", "counter", "{fetch}", "misses",
        "Fetches started because there was no valid token.",
    ),
    Metric(
        "layerfi.auth.cache.waits", "counter", "{call}", "waits",
        "Calls that waited for a fetch, their own or another call's.",
    ),
    Metric(
        "layerfi.auth.cache.refreshes", "counter", "{fetch}", "refreshes",
        "Fetches started in the background before a token expired.",
    ),
    Metric(
        "layerfi.auth.cache.business_tokens", "sum", "{token}", "business_tokens",
        "Business tokens in the cache.",
    ),
    Metric(
        "layerfi.auth.token.requests", "counter", "{request}", "token_requests",
        "Requests sent to the token endpoint.",
    ),
    Metric(
        "layerfi.auth.token.expiry_timestamp", "gauge", "s", "expires_at",
        "When the current access token expires, in seconds since 1970-01-01 UTC.",
    ),
    Metric(
        "layerfi.auth.token.remaining", "gauge", "s", "expires_at",
        "Time until the current access token expires; 0 if it has expired.",
    ),
    Metric(
        "layerfi.auth.business_token.requests", "counter", "{request}", "mints",
        "Requests sent to mint business tokens.",
    ),
    Metric(
        "layerfi.auth.retries", "counter", "{request}", "retries",
        "Requests that were sent again after a failure.",
    ),
    Metric(
        "layerfi.auth.failures", "counter", "{fetch}", "failures",
        "Fetches that failed after all retries, by kind of error.",
    ),
    Metric(
        "layerfi.auth.invalidations", "counter", "{token}", "invalidations",
        "Tokens that were invalidated because a server refused them.",
    ),
    Metric(
        "layerfi.auth.shared_cache.up", "gauge", "", "shared_cache",
        "1 if the shared cache is used, 0 if it failed; no value without a shared cache.",
    ),
    Metric(
        "layerfi.auth.shared_cache.adopted", "counter", "{token}", "shared_adopted",
        "Tokens that came from the shared cache.",
    ),
    Metric(
        "layerfi.auth.shared_cache.published", "counter", "{token}", "shared_published",
        "Tokens that this process stored in the shared cache.",
    ),
    Metric(
        "layerfi.auth.shared_cache.waits", "counter", "{fetch}", "shared_waits",
        "Fetches that waited for another process.",
    ),
    Metric(
        "layerfi.auth.shared_cache.alone", "counter", "{request}", "shared_alone",
        "Requests sent alone, because the shared cache failed or no process had a result.",
    ),
    Metric(
        "layerfi.auth.shared_cache.rejected", "counter", "{entry}", "shared_rejected",
        "Entries of the shared cache that were not accepted.",
    ),
    Metric(
        "layerfi.auth.shared_cache.faults", "counter", "{operation}", "shared_faults",
        "Failed operations of the shared cache.",
    ),
)  # fmt: skip
"""All metrics."""

LEFT_OUT: dict[str, str] = {}
"""Attributes of `Stats` that are no metric, and why."""


def measure(metric: Metric, stats: Stats) -> Iterable[tuple[dict[str, str], float]]:
    """Return the attributes and values of a metric; none if there is nothing to measure."""
    value = getattr(stats, metric.field)
    if metric.field == "failures":
        # Kinds that did not occur are 0, because Prometheus sees no increase in a new series.
        return [({ERROR_TYPE: kind}, value.get(kind, 0)) for kind in get_args(ErrorKind)]
    if metric.field == "shared_cache":
        return [] if value == "off" else [({}, int(value == "up"))]
    if metric.field == "expires_at":
        if value is None:
            return []
        expiry = value.timestamp()
        is_remaining = metric.name == "layerfi.auth.token.remaining"
        return [({}, max(0.0, expiry - time.time()) if is_remaining else expiry)]
    return [({}, value)]


class Clients:
    """Clients by name, without keeping them alive."""

    __slots__ = ("_clients", "_lock")

    def __init__(self) -> None:
        self._clients: dict[str, weakref.ref[Client]] = {}
        self._lock = Lock()

    def add(self, client: Client, name: str | None) -> None:
        if not isinstance(client, Client):
            raise TypeError(f"client must be a layerfi_auth.Client, not {_type_name(client)}")
        if not isinstance(name, str | None):
            raise TypeError(f"name must be a str, not {_type_name(name)}")
        name = name or ""
        with self._lock:
            current = self._clients.get(name)
            existing = current and current()
            if existing is not None and existing is not client:
                raise ValueError(
                    f"another client has the name {name!r}; give each client its own name="
                )
            alive = {key: one for key, one in self._clients.items() if one() is not None}
            self._clients = {**alive, name: weakref.ref(client)}

    def __iter__(self) -> Iterator[tuple[dict[str, str], Client]]:
        """Attributes and client of those that still exist."""
        with self._lock:
            clients = list(self._clients.items())
        for name, reference in clients:
            client = reference()
            if client is not None:
                yield ({"client": name} if name else {}), client


def _type_name(value: object) -> str:
    return type(value).__name__
