"""Metrics of clients, for Prometheus and OpenTelemetry, each an optional extra.

    from layerfi_auth.metrics import LayerAuthCollector

    LayerAuthCollector(client)  # registers itself with prometheus_client.REGISTRY

    from layerfi_auth.metrics import instrument

    instrument(client)  # with the global meter provider of OpenTelemetry

Both read `Client.stats` when they are asked for values, so calls of the client cost nothing
more. They do not keep a client alive. `METRICS` lists all metrics.

Each requires its library: ``pip install 'layerfi-auth[prometheus]'`` or ``[opentelemetry]``.
"""

from __future__ import annotations

from layerfi_auth.metrics._table import LEFT_OUT, METRICS, Metric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerfi_auth.metrics._multiprocess import MultiprocessExporter
    from layerfi_auth.metrics._opentelemetry import instrument
    from layerfi_auth.metrics._prometheus import LayerAuthCollector

    __all__ = [
        "LEFT_OUT",
        "METRICS",
        "LayerAuthCollector",
        "Metric",
        "MultiprocessExporter",
        "instrument",
    ]

# Module, extra, and the library that the extra installs.
_EXTRAS = {
    "LayerAuthCollector": ("_prometheus", "prometheus", "prometheus_client"),
    "MultiprocessExporter": ("_multiprocess", "prometheus", "prometheus_client"),
    "instrument": ("_opentelemetry", "opentelemetry", "opentelemetry"),
}


# Imported when first used: few programs have both libraries.
def __getattr__(name: str) -> object:
    from importlib import import_module, util

    if name == "__all__":
        # `import *` skips those whose library is not installed.
        found = [one for one, (*_, library) in _EXTRAS.items() if util.find_spec(library)]
        return ["LEFT_OUT", "METRICS", "Metric", *found]
    if name not in _EXTRAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra, library = _EXTRAS[name]
    try:
        return getattr(import_module(f"layerfi_auth.metrics.{module}"), name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] != library:
            raise
        text = f"{name} needs {library}: pip install 'layerfi-auth[{extra}]'"
        raise ImportError(text, name=library) from error


def __dir__() -> list[str]:
    return ["LEFT_OUT", "METRICS", "Metric", *_EXTRAS]
