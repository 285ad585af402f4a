"""Authentication for httpx, sync and async."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable

import httpx

from layerfi_auth._client import Client
from layerfi_auth._native import AccessToken
from layerfi_auth.auth._origins import AllowedOrigins

_UNAUTHORIZED = 401


class HttpxAuth(httpx.Auth):
    """``auth=`` of `httpx.Client` and `httpx.AsyncClient`, or of one request.

    Raises `InvalidArgumentError` for a request to a URL other than the client's API and
    ``origins``. httpx removes the header when it follows a redirect to another origin.
    """

    def __init__(self, client: Client, *, origins: Iterable[str] = ()) -> None:
        self._client = client
        self._allowed = AllowedOrigins(client, origins)

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with a token, and once more after a 401."""
        self._allowed.check(str(request.url))
        token = self._client.token()
        request.headers["Authorization"] = token.authorization
        response = yield request
        if not _refuses(response, token):
            return
        if not _can_be_sent_again(request):
            self._client.invalidate(token)
            return
        fresh = self._client.renew_token(token)
        if fresh != token:
            request.headers["Authorization"] = fresh.authorization
            yield request

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request with a token, and once more after a 401."""
        self._allowed.check(str(request.url))
        token = await self._client.token_async()
        request.headers["Authorization"] = token.authorization
        response = yield request
        if not _refuses(response, token):
            return
        if not _can_be_sent_again(request):
            self._client.invalidate(token)
            return
        fresh = await self._client.renew_token_async(token)
        if fresh != token:
            request.headers["Authorization"] = fresh.authorization
            yield request


def _refuses(response: httpx.Response, token: AccessToken) -> bool:
    # After a redirect, the 401 may answer a request without this header.
    return (
        response.status_code == _UNAUTHORIZED
        and response.request.headers.get("Authorization") == token.authorization
    )


def _can_be_sent_again(request: httpx.Request) -> bool:
    # Only bytes in memory; other streams have been read, or may have been.
    return isinstance(request.stream, httpx.ByteStream)
