"""Prometheus collector."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from layerfi_auth._client import Client
from layerfi_auth.metrics._table import METRICS, Clients, Metric, measure

__all__ = ["LayerAuthCollector"]


class LayerAuthCollector(Collector):
    """A Prometheus collector of the metrics of one or more clients.

    It reads `Client.stats` at each scrape, and does not keep the clients alive. It works in
    forked workers, where each counts for itself. With ``PROMETHEUS_MULTIPROC_DIR`` use
    `MultiprocessExporter` instead.

    :param client: the client.
    :param name: the value of the label ``client``, for programs with several clients. Without
        a name there is no such label.
    :param registry: where to register the collector; by default ``prometheus_client.REGISTRY``.
        ``None`` does not register it.
    """

    def __init__(
        self,
        client: Client,
        *,
        name: str | None = None,
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        self._clients = Clients()
        self._clients.add(client, name)
        if registry is not None:
            registry.register(self)

    def add(self, client: Client, *, name: str) -> None:
        """Also collect the metrics of another client.

        :param name: the value of its label ``client``.
        """
        self._clients.add(client, name)

    def describe(self) -> Iterable[Family]:
        """Return all metrics without values, with which a registry finds duplicates."""
        return [_family(metric) for metric in METRICS]

    def collect(self) -> Iterable[Family]:
        """Return the current values."""
        snapshots = [(labels, client.stats()) for labels, client in self._clients]
        for metric in METRICS:
            family = _family(metric)
            for labels, stats in snapshots:
                for attributes, value in measure(metric, stats):
                    sample = labels | dict(zip(metric.labels, attributes.values(), strict=True))
                    family.add_sample(metric.prometheus_name, sample, value)
            if family.samples:
                yield family


def _family(metric: Metric) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    # A counter's family adds `_total` itself.
    return kind(metric.prometheus_name.removesuffix("_total"), metric.help)
