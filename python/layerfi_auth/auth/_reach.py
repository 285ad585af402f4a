"""Where a client's token may go."""

from __future__ import annotations

from urllib.parse import urlsplit

from layerfi_auth.exceptions import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from layerfi_auth._client import Client

_PORTS = {"http": 80, "https": 443}


class Reach:
    """The API of a client, and what else its user named."""

    def __init__(self, client: Client, origins: Iterable[str]) -> None:
        self._api_url = client.api_url
        self._places = [_place(url) for url in (client.api_url, *origins)]

    def holds(self, url: str) -> bool:
        """Whether a URL is in reach: of a known origin, and below its path."""
        origin, path = _place(url)
        return any(
            origin == known and (path == base or path.startswith(f"{base}/"))
            for known, base in self._places
        )

    def check(self, url: str) -> None:
        """Raise for a URL that is not."""
        if not self.holds(url):
            message = f"the request does not lead to {self._api_url}"
            remedy = "send it without this auth, or name its origin in origins"
            raise InvalidArgumentError(
                f"{message}: {remedy}", message=message, remedy=remedy, field="url"
            )


def _place(url: str) -> tuple[tuple[str, str, int | None], str]:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    return (parts.scheme, parts.hostname or "", port), parts.path.rstrip("/")
