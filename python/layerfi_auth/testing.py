"""An emulator of the Layer API for your own tests, without account or network.

    from layerfi_auth.testing import Emulator

    with Emulator() as layer:
        client = layer.client()
        layer.fault("token", status=503, times=2)   # the client retries
        assert client.whoami().client_name
        assert layer.count("token") == 3

The package's pytest plugin has the fixtures ``layer_emulator`` and ``layer_client``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from layerfi_auth._client import Client
from layerfi_auth._native import Emulator as EmulatorBase
from layerfi_auth._types import ClientOptions, Endpoint

if TYPE_CHECKING:
    from typing_extensions import Unpack
elif sys.version_info >= (3, 11):
    from typing import Unpack
else:

    class Unpack:
        """For annotations that are evaluated."""

        def __class_getitem__(cls, options: type) -> type:
            return options


__all__ = ["BUSINESS_ID", "CLIENT_ID", "CLIENT_SECRET", "Emulator"]

CLIENT_ID = "emulator-client-id"
"""Id of the emulator's client, unless you pass ``clients``."""

CLIENT_SECRET = "emulator-client-secret-not-a-secret"  # noqa: S105
"""Secret of that client."""

BUSINESS_ID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
"""Id of an example business. Any other UUID is accepted too, unless you pass ``businesses``."""


def _remove(path: str, owner: int) -> None:
    # In a forked worker the parent still uses the file.
    if os.getpid() == owner:
        Path(path).unlink(missing_ok=True)


def _mapping(fault: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if fault is None:
        return {}
    if not isinstance(fault, Mapping) or not all(isinstance(name, str) for name in fault):
        kind = type(fault).__name__
        raise TypeError(f"fault must be a mapping of field names to values, not {kind}")
    return fault


def _to_json(name: str, value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a value that JSON can hold: {error}") from error


class Emulator(EmulatorBase):
    """A running emulator of Layer's authentication on free ports of 127.0.0.1.

    You can move its clock, revoke its tokens, rotate its secrets, and inject faults. Use it as
    a context manager, or call `stop`.

    :param environment: the environment to emulate: ``sandbox``, ``production`` or
        ``production-ca``.
    :param clients: pairs of id and secret, instead of `CLIENT_ID` and `CLIENT_SECRET`.
    :param unauthorized_clients: clients that get ``unauthorized_client``.
    :param businesses: UUIDs of the businesses that exist; by default any UUID.
    :param basic_decoding: how Basic credentials are decoded: ``raw`` or ``form``.
    :param invalid_client_status: HTTP status of ``invalid_client``: 400 or 401.
    :param access_token_lifetime: in seconds; 3600 by default.
    :param business_token_lifetime: in seconds; by default the session duration.
    :param rate_limit: requests per second; ``None`` for no limit; 100 by default.
    :param tls: serve HTTPS; `ca_pem` is the certificate authority.
    :param port: the API's port; a free port by default.
    :param control_port: the control API's port; a free port by default.
    :param proxy: run an HTTP forward proxy at `proxy_url`, through which every host name
        leads to the emulator.
    :param proxy_port: the proxy's port; a free port by default.
    :param proxy_credentials: user and password that the proxy requires.
    :param names: host names for which the certificate is valid, besides ``localhost``.
    :param idle_timeout: close connections that were idle for this many seconds.
    :param requests_per_connection: end each connection after this many requests.
    :param tls_trouble: serve HTTPS with a defect, see `set_tls_trouble`.
    :param tls_versions: ``1.2``, ``1.3`` or ``1.2-1.3``, the default.
    :param http_versions: ``1.1``, ``2`` or ``1.1-2``, the default.
    :param authority_file: serve HTTPS with the certificate authority of this file, so that a
        browser has to trust it only once; the file is made if it does not exist.
    :param demo_data: answer with twelve months of books of a business, for a page in a browser.
    :param console: show a page for a browser at `console_url`; true by default.
    """

    def client(self, **options: Unpack[ClientOptions]) -> Client:
        """Make a client of the first client, or of ``client_id``; ``options`` replace settings.

        It uses the client's current secret, and keeps this emulator running as long as it is
        used.
        """
        client_id, client_secret = self._credentials(options.get("client_id"))
        settings: ClientOptions = {
            "environment": "custom",
            "client_id": client_id,
            "client_secret": client_secret,
            "api_url": self.url,
            "auth_url": self.token_url,
            "scope": self.scope,
            "allow_http_loopback": True,
            "ca_pem": self.ca_pem,
            "proxy": False,
        }
        if "client_secret_file" in options or "credentials" in options:
            settings["client_secret"] = None
        settings.update(options)
        client = Client(**settings)
        client._keep_alive(self)  # noqa: SLF001
        return client

    def env(self) -> dict[str, str]:
        """Return environment variables with which `Client.from_env` uses this emulator.

        Variables that must not be set are empty, which counts as unset. With TLS,
        ``LAYER_CA_FILE`` names a file that exists until the emulator is stopped.
        """
        client_id, client_secret = self._credentials()
        return {
            "LAYER_ENVIRONMENT": "custom",
            "LAYER_CLIENT_ID": client_id,
            "LAYER_CLIENT_SECRET": client_secret,
            "LAYER_CLIENT_SECRET_FILE": "",
            "LAYER_CA_FILE": self._ca_file(),
            "LAYER_API_URL": self.url,
            "LAYER_AUTH_URL": self.token_url,
            "LAYER_SCOPE": self.scope,
            "LAYER_ALLOW_HTTP_LOOPBACK": "1",
        }

    def _ca_file(self) -> str:
        if self.ca_pem is None:
            return ""
        path: str | None = self.__dict__.get("_ca_path")
        if path is None:
            with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
                file.write(self.ca_pem)
            self._ca_path = path = file.name
            self._remove_ca_file = weakref.finalize(self, _remove, path, os.getpid())
        return path

    def rotate_authority(self) -> str:
        """Replace the certificate authority and the certificate, for the next handshakes.

        The file that `env` names is written anew. Returns the new `ca_pem`.
        """
        pem = self._rotate_authority()
        self._write_ca_file()
        return pem

    def reset(self) -> None:
        """Restore the state at the start, except for the ports."""
        super().reset()
        self._write_ca_file()

    def _write_ca_file(self) -> None:
        path: str | None = self.__dict__.get("_ca_path")
        if path is not None and self.ca_pem is not None:
            Path(path).write_text(self.ca_pem)

    def stop(self) -> None:
        """Stop the emulator. It cannot be started again."""
        super().stop()
        if "_ca_path" in self.__dict__:
            self._remove_ca_file()

    def fault(
        self,
        endpoint: Endpoint | None = None,
        fault: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> int:
        """Add a fault for the next request to an endpoint, or to any endpoint.

        Pass its fields as keywords or a mapping: ``status``, ``body``, ``headers``, ``times``
        (a number or ``"forever"``), ``skip``, ``delay_ms``, ``hold``, ``patch``, ``wire``,
        ``business_id``, ``resource``, ``path``, ``for_ms``, ``pad_body_to``, ``pad_headers``,
        ``encoding``.
        Returns the fault's number, for `remove_fault`.
        """
        fields = {**_mapping(fault), **fields}
        if endpoint is not None:
            if not isinstance(endpoint, str):
                raise TypeError(f"endpoint must be a str, not {type(endpoint).__name__}")
            fields["endpoint"] = endpoint
        parts = (
            f"{json.dumps(name)}: {_to_json(name, value)}" for name, value in fields.items()
        )
        return self._add_fault(f"{{{', '.join(parts)}}}")

    def faults(self) -> list[dict[str, Any]]:
        """Return the current faults, and how often each was applied."""
        faults: list[dict[str, Any]] = json.loads(self._faults())
        return faults

    def counters(self) -> dict[str, Any]:
        """Return the counters: connections, tokens, and requests by endpoint and status."""
        counters: dict[str, Any] = json.loads(self._counters())
        return counters

    def log(self, *, after: int = 0) -> list[dict[str, Any]]:
        """Return the log of requests and responses, after the entry with number ``after``."""
        entries: list[dict[str, Any]] = json.loads(self._log(after))
        return entries

    def __repr__(self) -> str:
        return f"<Emulator at {self.url}>"

    def __enter__(self) -> Emulator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.stop()
