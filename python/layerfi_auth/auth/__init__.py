"""Ready-made authentication for the usual HTTP libraries, each an optional extra.

    import httpx
    from layerfi_auth.auth import HttpxAuth

    api = httpx.Client(base_url=client.api_url, auth=HttpxAuth(client))

Each adds the header with a valid token. A 401 throws that token away and sends the request
once more with a new one, unless its body was a stream that is gone. To other places than the
API (and the ``origins`` that you name) the token is not sent.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerfi_auth.auth._aiohttp import aiohttp_middleware
    from layerfi_auth.auth._httpx import HttpxAuth
    from layerfi_auth.auth._requests import RequestsAuth

__all__ = ["HttpxAuth", "RequestsAuth", "aiohttp_middleware"]


# Imported when asked for: nobody has all three libraries, and they are slow to import.
def __getattr__(name: str) -> object:
    if name == "HttpxAuth":
        from layerfi_auth.auth._httpx import HttpxAuth

        return HttpxAuth
    if name == "RequestsAuth":
        from layerfi_auth.auth._requests import RequestsAuth

        return RequestsAuth
    if name == "aiohttp_middleware":
        from layerfi_auth.auth._aiohttp import aiohttp_middleware

        return aiohttp_middleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
