"""The URLs to which a client's token may be sent."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from layerfi_auth._client import Client
from layerfi_auth.exceptions import ConfigError, InvalidArgumentError

_PORTS = {"http": 80, "https": 443}


class AllowedOrigins:
    """A client's API and the origins that its user added."""

    def __init__(self, client: Client, origins: Iterable[str]) -> None:
        # Not `isinstance`: an object that has a client and passes calls on may be used too.
        api_url = getattr(client, "api_url", None)
        if not isinstance(api_url, str):
            kind = type(client).__name__
            raise TypeError(f"client must be a layerfi_auth.Client, not {kind}")
        self._api_url = api_url
        self._allowed = [_split(api_url), *_checked(origins)]

    def allows(self, url: str) -> bool:
        """Whether a URL has an allowed origin and is below that origin's path."""
        origin, path = _split(url)
        return any(
            origin == allowed and (path == base or path.startswith(f"{base}/"))
            for allowed, base in self._allowed
        )

    def check(self, url: str) -> None:
        """Raise an error for a URL that is not allowed."""
        if not self.allows(url):
            message = f"the request's URL is not below {self._api_url}"
            remedy = "send it without this auth, or add its origin to origins"
            raise InvalidArgumentError(
                f"{message}: {remedy}", message=message, remedy=remedy, field="url"
            )


def _checked(origins: Iterable[str]) -> list[tuple[tuple[str, str, int | None], str]]:
    if isinstance(origins, str | bytes) or not isinstance(origins, Iterable):
        kind = type(origins).__name__
        raise TypeError(f"origins must be an iterable of URLs, not {kind}")
    allowed = []
    for at, url in enumerate(origins):
        if not isinstance(url, str):
            raise TypeError(f"origins[{at}] must be a str, not {type(url).__name__}")
        try:
            origin, path = _split(url)
        except ValueError:  # For example a port that is not a number.
            origin, path = ("", "", None), ""
        scheme, host, _ = origin
        if scheme not in _PORTS or not host:
            message = f"origins[{at}] is not a URL with http or https and a host"
            remedy = "write it like https://mcp.example.com"
            raise ConfigError(
                f"{message}: {remedy}", message=message, remedy=remedy, field="origins"
            )
        allowed.append((origin, path))
    return allowed


def _split(url: str) -> tuple[tuple[str, str, int | None], str]:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    return (parts.scheme, parts.hostname or "", port), parts.path.rstrip("/")
