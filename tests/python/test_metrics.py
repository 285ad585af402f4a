"""Metrics for Prometheus and OpenTelemetry, the dashboard, the alerts, and docs/metrics.md."""

from __future__ import annotations

import gc
import http.client
import os
import sys
import weakref

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from conftest import BUSINESS, TIMEOUT, business, eventually, free_port, run_python
from layerfi_auth import OAuthError
from layerfi_auth._native import Stats
from layerfi_auth.metrics import (
    LEFT_OUT,
    METRICS,
    LayerAuthCollector,
    MultiprocessExporter,
    instrument,
)
from test_servers import running


def prometheus(registry):
    """Samples of the text that Prometheus would get, by name and labels."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def opentelemetry(reader):
    """Values by name and attributes."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        (metric.name, *sorted(point.attributes.items())): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


@pytest.fixture
def reader():
    reader = InMemoryMetricReader()
    yield reader
    reader.shutdown()


@pytest.fixture
def provider(reader):
    return MeterProvider([reader], shutdown_on_exit=False)


@pytest.fixture
def used(layer, client):
    """A client with a count in as many fields as one process can have without a store."""
    client.token()
    client.token()
    client.business_token(BUSINESS)
    layer.revoke_all("access")
    client.whoami()
    layer.fault("token", status=503, times=1)
    client.invalidate(client.token())
    client.token()
    return client


def expected(stats, name):
    """What a client's statistics say, by metric's name, without what depends on the time."""
    values = {}
    for metric in METRICS:
        if metric.field in ("expires_at", "shared_cache", "failures"):
            continue
        values[(name(metric),)] = getattr(stats, metric.field)
    return values


def test_b24_every_statistic_is_a_metric_or_left_out_with_a_reason():
    fields = {name for name in vars(Stats) if not name.startswith("_")} - {"to_dict"}
    assert len(fields) > 15, "the fields of Stats were not found"
    exported = {metric.field for metric in METRICS}
    assert exported <= fields, "a metric reads a field that Stats does not have"
    assert not exported & set(LEFT_OUT), "a field is exported and left out"
    missing = fields - exported - set(LEFT_OUT)
    assert not missing, (
        f"add {sorted(missing)} to METRICS or LEFT_OUT in python/layerfi_auth/metrics/_table.py"
    )
    assert all(len(reason) > 10 for reason in LEFT_OUT.values())


def test_b24_names_follow_the_conventions():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.startswith("layerfi.auth.")
        assert metric.name == metric.name.lower()
        assert metric.prometheus_name.endswith("_total") == (metric.kind == "counter")
        assert metric.prometheus_name.startswith("layerfi_auth_")
        assert metric.help.endswith(".")
        # With the unit "1" exporters add `_ratio` to a gauge.
        assert metric.unit == "s" or metric.unit == "" or metric.unit.startswith("{")


def test_b24_prometheus_gets_the_statistics(used):
    registry = CollectorRegistry()
    LayerAuthCollector(used, registry=registry)
    samples = prometheus(registry)
    stats = used.stats()
    assert stats.token_requests >= 3
    assert stats.invalidations >= 2
    for name, value in expected(stats, lambda metric: metric.prometheus_name).items():
        assert samples[name] == value, name
    assert samples[("layerfi_auth_token_requests_total",)] == stats.token_requests
    expiry = samples[("layerfi_auth_token_expiry_timestamp_seconds",)]
    assert expiry == pytest.approx(stats.expires_at.timestamp(), abs=0.001)
    assert 0 < samples[("layerfi_auth_token_remaining_seconds",)] <= 3600


def test_b24_opentelemetry_gets_the_statistics(used, provider, reader):
    instrument(used, meter_provider=provider)
    points = opentelemetry(reader)
    for name, value in expected(used.stats(), lambda metric: metric.name).items():
        assert points[name] == value, name
    assert 0 < points[("layerfi.auth.token.remaining",)] <= 3600


def test_b24_opentelemetry_instruments_have_units_and_kinds(used, provider, reader):
    instrument(used, meter_provider=provider)
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "layerfi_auth"
    table = {metric.name: metric for metric in METRICS}
    assert len(scope.metrics) > 15
    for metric in scope.metrics:
        row = table[metric.name]
        assert (metric.unit, metric.description) == (row.unit, row.help)
        is_monotonic = isinstance(metric.data, Sum) and metric.data.is_monotonic
        assert is_monotonic == (row.kind == "counter"), metric.name


def test_b24_failures_are_exported_by_kind(layer, provider, reader):
    client = layer.client(client_secret="wrong", max_attempts=1)
    with pytest.raises(OAuthError):
        client.token()
    registry = CollectorRegistry()
    LayerAuthCollector(client, registry=registry)
    instrument(client, meter_provider=provider)
    name = "layerfi_auth_failures_total"
    assert prometheus(registry)[(name, ("error_type", "oauth"))] == 1
    assert opentelemetry(reader)[("layerfi.auth.failures", ("error.type", "oauth"))] == 1
    # No token was ever there, so there is no expiry.
    assert ("layerfi_auth_token_remaining_seconds",) not in prometheus(registry)


def test_b24_clients_are_told_apart_by_name(layer, provider, reader):
    one, two = layer.client(), layer.client()
    one.token()
    registry = CollectorRegistry()
    collector = LayerAuthCollector(one, name="us", registry=registry)
    collector.add(two, name="ca")
    instrument(one, name="us", meter_provider=provider)
    instrument(two, name="ca", meter_provider=provider)
    name = "layerfi_auth_token_requests_total"
    samples = prometheus(registry)
    assert (name,) not in samples
    assert [samples[(name, ("client", one))] for one in ("us", "ca")] == [1, 0]
    points = opentelemetry(reader)
    name = "layerfi.auth.token.requests"
    assert [points[(name, ("client", one))] for one in ("us", "ca")] == [1, 0]


def test_b24_two_clients_with_one_name_are_refused(layer, provider):
    one, two = layer.client(), layer.client()
    registry = CollectorRegistry()
    collector = LayerAuthCollector(one, name="us", registry=registry)
    collector.add(one, name="us")
    with pytest.raises(ValueError, match="another client has the name 'us'"):
        collector.add(two, name="us")
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        LayerAuthCollector(two, registry=registry)
    instrument(one, meter_provider=provider)
    with pytest.raises(ValueError, match="give each client its own name="):
        instrument(two, meter_provider=provider)
    with pytest.raises(TypeError, match=r"client must be a layerfi_auth.Client, not str"):
        LayerAuthCollector("client", registry=None)


def test_b24_metrics_do_not_keep_a_client_alive(layer, provider, reader):
    client = layer.client()
    client.token()
    registry = CollectorRegistry()
    LayerAuthCollector(client, registry=registry)
    instrument(client, meter_provider=provider)
    assert prometheus(registry)
    assert opentelemetry(reader)
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None, "the metrics keep the client alive"
    assert prometheus(registry) == {}, "a deleted client is exported"
    assert generate_latest(registry) == b""
    assert opentelemetry(reader) == {}
    # Its name can be used again.
    client = layer.client()
    instrument(client, meter_provider=provider)
    assert opentelemetry(reader)[("layerfi.auth.token.requests",)] == 0


def test_b20_metrics_contain_no_secret(layer, used):
    registry = CollectorRegistry()
    LayerAuthCollector(used, registry=registry)
    text = generate_latest(registry).decode()
    variables = layer.env()
    for value in [
        variables["LAYER_CLIENT_ID"],
        variables["LAYER_CLIENT_SECRET"],
        used.token().secret,
        BUSINESS,
        used.business_token(BUSINESS).secret,
    ]:
        assert value not in text


def test_b13_forked_child_exports_its_own_statistics(layer, client, provider, reader):
    client.token()
    registry = CollectorRegistry()
    LayerAuthCollector(client, registry=registry)
    child = os.fork()
    if child == 0:
        try:
            client.invalidate(client.token())
            client.token()
            name = ("layerfi_auth_token_requests_total",)
            os._exit(0 if prometheus(registry)[name] == 2 else 3)
        finally:
            os._exit(4)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert prometheus(registry)[("layerfi_auth_token_requests_total",)] == 1


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("LayerAuthCollector", "prometheus_client", "prometheus"),
        ("instrument", "opentelemetry", "opentelemetry"),
    ],
)
def test_error_names_the_extra_if_a_library_is_missing(name, library, extra):
    out = run_python(
        f"""
import sys
sys.modules[{library!r}] = None  # as if it were not installed
from layerfi_auth import metrics
assert len(metrics.METRICS) > 15
try:
    metrics.{name}
except ImportError as error:
    print(error)
"""
    )
    assert out.strip() == f"{name} needs {library}: pip install 'layerfi-auth[{extra}]'"


SHOP = """
import os
from layerfi_auth import Client
from layerfi_auth.metrics import MultiprocessExporter
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

client = Client.from_env()
MultiprocessExporter(client)
client.token()

registry = CollectorRegistry()
MultiProcessCollector(registry)
metrics = make_wsgi_app(registry)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        return metrics(environ, start_response)
    client.business_token(environ["PATH_INFO"][1:])
    start_response("200 OK", [("x-pid", str(os.getpid()))])
    return [b""]
"""


def fetch(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.headers["x-pid"], answer.read().decode()
    except OSError:
        return None
    finally:
        connection.close()


def test_b24_gunicorn_exports_the_sum_of_all_workers(layer, tmp_path):
    """What the master counted before the fork is counted once."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    files = tmp_path / "prometheus"
    files.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "3"]
    command += ["--bind", f"127.0.0.1:{port}", "shop:app"]
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(files)}
    with running(command, tmp_path, layer, tmp_path / "log", environment):
        eventually(lambda: fetch(port, f"/{BUSINESS}"))
        workers = set()

        def all_workers_answered():
            workers.add(fetch(port, f"/{business(len(workers))}")[0])
            return len(workers) == 3

        eventually(all_workers_answered)

        def exported():
            samples = {}
            for family in text_string_to_metric_families(fetch(port, "/metrics")[1]):
                samples |= {sample.name: sample.value for sample in family.samples}
            return samples

        mints = layer.count("auth_token")
        assert mints >= 3
        eventually(lambda: exported()["layerfi_auth_business_token_requests_total"] == mints)
        samples = exported()
        assert samples["layerfi_auth_token_requests_total"] == 1 == layer.count("token")
        # All see the master's token.
        assert 0 < samples["layerfi_auth_token_remaining_seconds"] <= 3600
        assert "layerfi_auth_shared_cache_up" not in samples


def test_b24_last_counts_of_a_process_are_written_at_its_end(layer, tmp_path):
    run_python(
        """
from layerfi_auth import Client
from layerfi_auth.metrics import MultiprocessExporter
client = Client.from_env()
MultiprocessExporter(client, name="us")
client.token()
""",
        layer,
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path),
    )
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    name = "layerfi_auth_token_requests_total"
    assert prometheus(registry)[(name, ("client", "us"))] == 1


def test_multiprocess_exporter_needs_its_directory(client, monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with pytest.raises(RuntimeError, match="PROMETHEUS_MULTIPROC_DIR is not set"):
        MultiprocessExporter(client)
