"""Authentication for aiohttp, as a client middleware."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

from layerfi_auth._client import Client
from layerfi_auth.auth._origins import allowed_origins

_UNAUTHORIZED = 401


def aiohttp_middleware(client: Client, *, origins: Iterable[str] = ()) -> ClientMiddlewareType:
    """Make a middleware for ``middlewares=(…,)`` of `aiohttp.ClientSession`, or of one request.

    Requests to URLs other than the client's API and ``origins`` are sent unchanged: aiohttp
    also passes requests after a redirect to its middlewares.
    """
    allowed = allowed_origins(client, origins)

    async def middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if not allowed.allows(str(request.url)):
            return await handler(request)
        token = await client.token_async()
        request.headers["Authorization"] = token.authorization
        response = await handler(request)
        if response.status != _UNAUTHORIZED:
            return response
        # A body that was a stream cannot be sent again.
        if getattr(request.body, "consumed", False):
            client.invalidate(token)
            return response
        fresh = await client.renew_token_async(token)
        if fresh == token:
            return response
        response.release()
        request.headers["Authorization"] = fresh.authorization
        return await handler(request)

    return middleware
