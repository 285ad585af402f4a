"""Metrics for Prometheus and OpenTelemetry, the dashboard, the alerts, and docs/metrics.md."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import weakref

import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from conftest import BUSINESS, ROOT, TIMEOUT, business, eventually, free_port, run_python
from layerfi_auth import LayerAuthError, OAuthError
from layerfi_auth._native import Stats
from layerfi_auth.metrics import (
    LEFT_OUT,
    METRICS,
    LayerAuthCollector,
    MultiprocessExporter,
    instrument,
)
from redis_server import WITH_PARENT, RedisServer
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


# Of Python, because the process has threads, and of eventlet, if another test imported it.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
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
            answer = fetch(port, f"/{business(len(workers))}")
            if answer:
                workers.add(answer[0])
            return len(workers) == 3

        eventually(all_workers_answered)

        def exported():
            _, text = fetch(port, "/metrics") or ("", "")
            families = text_string_to_metric_families(text)
            return {one.name: one.value for family in families for one in family.samples}

        mints = layer.count("auth_token")
        assert mints >= 3
        name = "layerfi_auth_business_token_requests_total"
        eventually(lambda: exported().get(name) == mints)
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


def page():
    return (ROOT / "docs/metrics.md").read_text(encoding="utf-8")


def alerts():
    rules = yaml.safe_load((ROOT / "docs/metrics/alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in rules["groups"] for rule in group["rules"]]


def row(*cells):
    return "| " + " | ".join(cells) + " |\n"


def tables():
    metrics = row("Prometheus", "OpenTelemetry", "`stats()`", "kind", "unit", "meaning")
    metrics += row(*["---"] * 6)
    for metric in METRICS:
        kind = {"sum": "up-down counter"}.get(metric.kind, metric.kind)
        unit = f"`{metric.unit}`" if metric.unit else ""
        names = (metric.prometheus_name, metric.name, metric.field)
        metrics += row(*(f"`{name}`" for name in names), kind, unit, metric.help.rstrip("."))
    rules = row("alert", "severity", "after", "what to do") + row(*["---"] * 4)
    for rule in alerts():
        after, runbook = rule.get("for", "at once"), rule["annotations"]["runbook"]
        runbook = re.sub(r"docs/(\w+\.md)", r"[\1](\1)", runbook)
        rules += row(f"`{rule['alert']}`", rule["labels"]["severity"], after, runbook)
    return {"metrics": metrics, "alerts": rules}


def test_page_lists_all_metrics_and_alerts():
    text = page()
    for name, table in tables().items():
        text, count = re.subn(
            rf"(<!-- {name}: .*? -->\n)(.*?)(<!-- end -->)",
            lambda found, table=table: found[1] + "\n" + table + "\n" + found[3],
            text,
            count=1,
            flags=re.DOTALL,
        )
        assert count == 1, f"docs/metrics.md has no place for the table of {name}"
    if os.environ.get("UPDATE_METRICS"):
        (ROOT / "docs/metrics.md").write_text(text, encoding="utf-8")
    assert page() == text, (
        "a table of docs/metrics.md is not up to date; run "
        "UPDATE_METRICS=1 .venv/bin/python -m pytest tests/python/test_metrics.py -k page"
    )


def test_page_dashboard_and_alerts_name_only_metrics_that_exist():
    exported = {metric.prometheus_name for metric in METRICS}
    dotted = {metric.name for metric in METRICS}
    for path in ["metrics.md", "metrics/dashboard.json", "metrics/alerts.yml"]:
        text = (ROOT / "docs" / path).read_text(encoding="utf-8")
        names = set(re.findall(r"\blayerfi_auth_[a-z_]+\b", text))
        assert len(names) > 5, f"{path} names no metrics"
        assert names <= exported, f"{path} names {names - exported}, which no client exports"
        found = set(re.findall(r"\blayerfi\.auth\.[a-z_.]+[a-z]", text))
        assert found <= dotted, f"{path} names {found - dotted}, which no client exports"
    shown = set(re.findall(r"layerfi_auth_[a-z_]+", json.dumps(dashboard())))
    assert shown == exported - {"layerfi_auth_token_expiry_timestamp_seconds"}


def test_dashboard_and_alerts_use_only_labels_that_exist():
    known = {"job", "instance", "client"} | {one for metric in METRICS for one in metric.labels}
    for path in ["metrics/dashboard.json", "metrics/alerts.yml"]:
        text = (ROOT / "docs" / path).read_text(encoding="utf-8").replace('\\"', '"')
        groups = re.findall(r"\b(?:by|on) \(([^)]*)\)", text)
        used = {label for group in groups for label in group.split(", ")}
        used |= set(re.findall(r'\b(\w+)(?:=~|!~|=|!=)"', text))
        used |= set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", text))
        assert "error_type" in used
        assert used <= known, f"{path} uses labels that no metric has: {used - known}"


def dashboard():
    return json.loads((ROOT / "docs/metrics/dashboard.json").read_text(encoding="utf-8"))


def queries():
    """The queries of the dashboard by panel, with the variables as Grafana fills them."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expr = target["expr"].replace("$__rate_interval", "1m")
            expr = re.sub(r"\$(job|instance|client)\b", ".*", expr)
            assert "$" not in expr, f"{panel['title']} has an unknown variable: {expr}"
            yield panel["title"], expr


def program(name):
    """A program of Debian's package prometheus, which is installed if this runs as root."""
    if shutil.which(name) is None:
        setup = [ROOT / "scripts/setup", "prometheus"]
        done = subprocess.run(setup, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{name} is missing: {done.stderr}"
    return shutil.which(name)


def test_alerts_fire_when_they_should_and_only_then():
    tests = ROOT / "tests/python/alerts_test.yml"
    done = subprocess.run(
        [program("promtool"), "test", "rules", tests],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for rule in alerts():
        tested = f'alertname="{rule["alert"]}", alertstate="firing"'
        assert tested in tests.read_text(), f"no test lets {rule['alert']} fire"
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["runbook"]) > 50, f"{rule['alert']} has no runbook"


@contextlib.contextmanager
def scraping(folder, target):
    """A Prometheus that scrapes a port every second; yields a function that queries it."""
    port = free_port()
    alerts = ROOT / "docs/metrics/alerts.yml"
    config = f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: shop
    static_configs: [{{targets: ["127.0.0.1:{target}"]}}]
"""
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")

    def get(path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            _, answer = fetch(port, f"/api/v1/{path}?{query}")
            return json.loads(answer)
        except (TypeError, ValueError):
            return None  # It has not started yet.

    command = [program("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [*WITH_PARENT, *command], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield get
    finally:
        process.kill()
        process.wait()


def test_b24_dashboard_and_alerts_work_in_a_real_prometheus(layer, tmp_path):
    with RedisServer(tmp_path / "store", "valkey") as store:
        good = layer.client(shared_cache=store.url)
        bad = layer.client(client_secret="wrong", max_attempts=1)
        collector_registry = CollectorRegistry()
        collector = LayerAuthCollector(good, name="good", registry=collector_registry)
        collector.add(bad, name="bad")
        server, thread = start_http_server(0, "127.0.0.1", collector_registry)
        try:
            with scraping(tmp_path, server.server_port) as get:

                def use():
                    good.business_token(BUSINESS)
                    with contextlib.suppress(LayerAuthError):
                        bad.token()

                def answered(expr):
                    use()
                    answer = get("query", query=expr)
                    if answer is None:
                        return False
                    assert answer["status"] == "success", f"{expr}: {answer}"
                    return answer["data"]["result"]

                panels = list(queries())
                assert len(panels) > 20
                for _, expr in panels:
                    eventually(lambda expr=expr: answered(expr))
                (sample,) = answered('layerfi_auth_token_requests_total{client="good"}')
                assert float(sample["value"][1]) == good.stats().token_requests
                for rule in alerts():
                    answer = get("query", query=rule["expr"])
                    assert answer["status"] == "success", f"{rule['alert']}: {answer}"
                # The rule sees that the credentials are refused.
                refused = 'ALERTS{alertname="LayerAuthCredentialsRefused", client="bad"}'
                eventually(lambda: answered(refused))
        finally:
            server.shutdown()
            server.server_close()
            thread.join(TIMEOUT)


def test_b24_opentelemetrys_exporter_makes_the_same_prometheus_names(used):
    registry = CollectorRegistry()
    exporter = PrometheusMetricReader()  # Registers with the global registry.
    REGISTRY.unregister(exporter._collector)
    registry.register(exporter._collector)
    provider = MeterProvider([exporter], shutdown_on_exit=False)
    instrument(used, name="us", meter_provider=provider)
    other = CollectorRegistry()
    LayerAuthCollector(used, name="us", registry=other)

    def names(registry):
        return {
            (name, *(label for label in labels if not label[0].startswith("otel_")))
            for name, *labels in prometheus(registry)
            if name.startswith("layerfi")
        }

    assert names(registry) == names(other)


PROGRAM = re.compile(r"# (\w+(?:\.conf)?\.py)\n")


def programs():
    found = {"": ""}
    for code in re.findall(r"^```python\n(.*?)^```$", page(), re.MULTILINE | re.DOTALL):
        name = PROGRAM.match(code)
        if name:
            found[name[1]] = code
        else:
            found[""] += code
    return found


def test_programs_of_the_page_run(layer):
    code = programs()[""]
    assert code.count("start_http_server(9464)") == 1
    port = free_port()
    code = code.replace("9464", str(port))
    code += f"""
import urllib.request
client.token()
with urllib.request.urlopen("http://127.0.0.1:{port}/metrics") as answer:
    print(answer.read().decode())
"""
    out = run_python(code, layer)
    assert "layerfi_auth_token_requests_total 1.0" in out
    assert '"name": "layerfi.auth.token.requests"' in out


@pytest.mark.parametrize("server", ["shop_metrics", "shop_workers"])
def test_servers_of_the_page_export_metrics(layer, tmp_path, server):
    for name, code in programs().items():
        if name:
            (tmp_path / name).write_text(code, encoding="utf-8")
    port = free_port()
    files = tmp_path / "files"
    files.mkdir()
    commands = {
        "shop_metrics": ["uvicorn", "--port", str(port), "shop_metrics:app"],
        "shop_workers": (
            f"gunicorn --bind 127.0.0.1:{port} --preload --workers 4 shop_workers:app"
        ).split(),
    }
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(files)} if server == "shop_workers" else {}
    command = [sys.executable, "-m", *commands[server]]
    with running(command, tmp_path, layer, tmp_path / "log", environment):
        eventually(lambda: fetch(port, "/"))
        line = "layerfi_auth_token_requests_total 1.0"
        eventually(lambda: line in (fetch(port, "/metrics/") or ("", ""))[1])
    assert layer.count("token") == 1
