"""The URLs to which a client's token may be sent."""

from __future__ import annotations

from urllib.parse import urlsplit

from layerfi_auth.exceptions import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from layerfi_auth._client import Client

_PORTS = {"http": 80, "https": 443}


class AllowedOrigins:
    """A client's API and the origins that its user added."""

    def __init__(self, client: Client, origins: Iterable[str]) -> None:
        self._api_url = client.api_url
        self._allowed = [_split(url) for url in (client.api_url, *origins)]

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


def _split(url: str) -> tuple[tuple[str, str, int | None], str]:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    return (parts.scheme, parts.hostname or "", port), parts.path.rstrip("/")
