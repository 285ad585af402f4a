"""What httpx and httpx2 have in common, which are two libraries with the same API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any, ClassVar

from layerfi_auth._client import Client
from layerfi_auth._native import AccessToken
from layerfi_auth.auth._origins import allowed_origins

_UNAUTHORIZED = 401


class HttpxFlow:
    """The methods of ``httpx.Auth``; a request and a response are those of the library."""

    _bytes_in_memory: ClassVar[type[object]]
    """The library's class of a body that can be sent again."""

    def __init__(self, client: Client, *, origins: Iterable[str] = ()) -> None:
        self._client = client
        self._allowed = allowed_origins(client, origins)

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Send the request with a token, and once more after a 401."""
        self._allowed.check(str(request.url))
        token = self._client.token()
        request.headers["Authorization"] = token.authorization
        response = yield request
        if not _refuses(response, token):
            return
        if not self._can_be_sent_again(request):
            self._client.invalidate(token)
            return
        fresh = self._client.renew_token(token)
        if fresh != token:
            request.headers["Authorization"] = fresh.authorization
            yield request

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Send the request with a token, and once more after a 401."""
        self._allowed.check(str(request.url))
        token = await self._client.token_async()
        request.headers["Authorization"] = token.authorization
        response = yield request
        if not _refuses(response, token):
            return
        if not self._can_be_sent_again(request):
            self._client.invalidate(token)
            return
        fresh = await self._client.renew_token_async(token)
        if fresh != token:
            request.headers["Authorization"] = fresh.authorization
            yield request

    def _can_be_sent_again(self, request: Any) -> bool:
        # Only bytes in memory; other streams have been read, or may have been.
        return isinstance(request.stream, self._bytes_in_memory)


def _refuses(response: Any, token: AccessToken) -> bool:
    # After a redirect, the 401 may answer a request without this header.
    return bool(
        response.status_code == _UNAUTHORIZED
        and response.request.headers.get("Authorization") == token.authorization
    )
