"""The URLs to which a client's token may be sent."""

from __future__ import annotations

from collections.abc import Iterable

from layerfi_auth._client import Client
from layerfi_auth._native import AllowedOrigins


def allowed_origins(client: Client, origins: Iterable[str]) -> AllowedOrigins:
    """Allow a client's API and the origins that its user added."""
    # Not `isinstance`: an object that has a client and passes calls on may be used too.
    api_url = getattr(client, "api_url", None)
    if not isinstance(api_url, str):
        kind = type(client).__name__
        raise TypeError(f"client must be a layerfi_auth.Client, not {kind}")
    return AllowedOrigins(api_url, origins)
