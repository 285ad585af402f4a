"""OpenTelemetry metrics."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from threading import Lock

from opentelemetry.metrics import (
    CallbackOptions,
    MeterProvider,
    Observation,
    get_meter_provider,
)

from layerfi_auth._client import Client
from layerfi_auth._native import __version__
from layerfi_auth.metrics._table import METRICS, Clients, Metric, measure

__all__ = ["instrument"]

# Instruments cannot be removed, and must not be made twice with one provider.
_INSTRUMENTED: weakref.WeakKeyDictionary[MeterProvider, Clients] = weakref.WeakKeyDictionary()
_LOCK = Lock()


def instrument(
    client: Client, *, name: str | None = None, meter_provider: MeterProvider | None = None
) -> None:
    """Export the metrics of a client with OpenTelemetry.

    The instruments are observable: `Client.stats` is read when the provider's reader collects
    values. They do not keep the client alive, and work in forked workers.

    :param client: the client.
    :param name: the value of the attribute ``client``, for programs with several clients:
        call this once for each. Without a name there is no such attribute.
    :param meter_provider: by default the global one. Set it before this call.
    """
    provider = get_meter_provider() if meter_provider is None else meter_provider
    with _LOCK:
        clients = _INSTRUMENTED.get(provider)
        if clients is not None:
            clients.add(client, name)
            return
        clients = Clients()
        clients.add(client, name)
        meter = provider.get_meter("layerfi_auth", __version__)
        make = {
            "counter": meter.create_observable_counter,
            "gauge": meter.create_observable_gauge,
            "sum": meter.create_observable_up_down_counter,
        }
        for metric in METRICS:
            make[metric.kind](
                metric.name,
                callbacks=[_observe(metric, clients)],
                unit=metric.unit,
                description=metric.help,
            )
        _INSTRUMENTED[provider] = clients


def _observe(
    metric: Metric, clients: Clients
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(value, labels | attributes)
            for labels, client in clients
            for attributes, value in measure(metric, client.stats())
        ]

    return observe
