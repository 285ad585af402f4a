"""Layer on loopback, for your own tests: no account, no network.

    from layerfi_auth.testing import Emulator

    with Emulator() as layer:
        client = layer.client()
        layer.fault("token", status=503, times=2)   # the client retries
        assert client.whoami().client_name
        assert layer.count("token") == 3

pytest finds the fixtures ``layer_emulator`` and ``layer_client`` by itself.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from pathlib import Path

from layerfi_auth._client import Client
from layerfi_auth._native import EmulatorBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self, Unpack

    from layerfi_auth._typing import ClientOptions

__all__ = ["BUSINESS_ID", "CLIENT_ID", "CLIENT_SECRET", "Emulator"]

CLIENT_ID = "emulator-client-id"
"""The emulator's client, unless it was given others."""

CLIENT_SECRET = "emulator-client-secret-not-a-secret"  # noqa: S105
"""That client's secret."""

BUSINESS_ID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
"""A business for examples. Every other UUID is one too, unless businesses were given."""


def _remove(path: str, owner: int) -> None:
    # In a forked worker it is still its parent's.
    if os.getpid() == owner:
        Path(path).unlink(missing_ok=True)


class Emulator(EmulatorBase):
    """A running emulator of Layer's authentication on free ports of 127.0.0.1.

    It has a clock of its own that can be moved, its tokens can be revoked, its secrets
    rotated, and it can be told to misbehave. Use it as a context manager, or call `stop`.

    :param environment: the one that it plays: ``sandbox``, ``production``, ``production-ca``.
    :param clients: pairs of id and secret, in place of `CLIENT_ID` and `CLIENT_SECRET`.
    :param unauthorized_clients: clients that may not use this grant.
    :param businesses: UUIDs of the businesses there are, in place of all.
    :param basic_decoding: how it reads Basic: ``raw`` or ``form``.
    :param invalid_client_status: 400 or 401.
    :param access_token_lifetime: in seconds; 3600 by default.
    :param business_token_lifetime: in seconds; as long as the session by default.
    :param rate_limit: requests per second; ``None`` for any number; 100 by default.
    :param tls: serves HTTPS, with the certificate authority in `ca_pem`.
    :param port: a port of your choice; a free one by default.
    :param control_port: the same for the control API.
    """

    def client(self, **options: Unpack[ClientOptions]) -> Client:
        """Make a client of this emulator's, its first; options come first."""
        client_id, client_secret = self._credentials()
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
        return Client(**settings)

    def env(self) -> dict[str, str]:
        """Return the variables that make `Client.from_env` a client of this emulator's.

        Those that would get in the way are empty, which counts as unset. Over TLS there is a
        file with the certificate authority, until the emulator is stopped.
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

    def stop(self) -> None:
        """Stop it. It cannot be started again."""
        super().stop()
        if "_ca_path" in self.__dict__:
            self._remove_ca_file()

    def fault(
        self, endpoint: str | None = None, fault: Mapping[str, Any] | None = None, **fields: Any
    ) -> int:
        """Have the next request of an endpoint (or of any) meet with a fault.

        Give it as keywords or as a mapping: ``status``, ``body``, ``headers``, ``times`` (a
        number or ``"forever"``), ``skip``, ``delay_ms``, ``hold``, ``patch``, ``wire``,
        ``business_id``, ``pad_body_to``. Returns its number, for `remove_fault`.
        """
        told = {**(fault or {}), **fields}
        if endpoint is not None:
            told["endpoint"] = endpoint
        return self._add_fault(json.dumps(told))

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are set, and how often each has acted."""
        faults: list[dict[str, Any]] = json.loads(self._faults())
        return faults

    def counters(self) -> dict[str, Any]:
        """Return all counts: of connections, tokens, and requests by endpoint and status."""
        counters: dict[str, Any] = json.loads(self._counters())
        return counters

    def log(self, *, after: int = 0) -> list[dict[str, Any]]:
        """Return what was asked and answered, of the entries past a number."""
        entries: list[dict[str, Any]] = json.loads(self._log(after))
        return entries

    def __repr__(self) -> str:
        return f"<Emulator at {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.stop()
