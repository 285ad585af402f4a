"""Authentication for httpx, httpx2, requests and aiohttp, each an optional extra.

    import httpx
    from layerfi_auth.auth import HttpxAuth

    api = httpx.Client(base_url=client.api_url, auth=HttpxAuth(client))

Each adds the header with a valid token. After a 401 it invalidates the token and sends the
request once more with a new one, unless the request's body was a stream. The token is sent only
to the API and to the ``origins`` that you name.

Each requires its library: ``pip install 'layerfi-auth[httpx]'``, or ``[httpx2]``,
``[requests]`` or ``[aiohttp]``. `Httpx2Auth` is for httpx2, which the MCP SDK uses.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerfi_auth.auth._aiohttp import aiohttp_middleware
    from layerfi_auth.auth._httpx import HttpxAuth
    from layerfi_auth.auth._httpx2 import Httpx2Auth
    from layerfi_auth.auth._requests import RequestsAuth

    __all__ = ["Httpx2Auth", "HttpxAuth", "RequestsAuth", "aiohttp_middleware"]

_LIBRARIES = {
    "Httpx2Auth": "httpx2",
    "HttpxAuth": "httpx",
    "RequestsAuth": "requests",
    "aiohttp_middleware": "aiohttp",
}


# Imported when first used: few programs have all libraries, and they are slow to import.
def __getattr__(name: str) -> object:
    from importlib import import_module, util

    if name == "__all__":
        # `import *` skips those whose library is not installed.
        return [one for one, library in _LIBRARIES.items() if util.find_spec(library)]
    if name not in _LIBRARIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    library = _LIBRARIES[name]
    try:
        return getattr(import_module(f"layerfi_auth.auth._{library}"), name)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        text = f"{name} needs {library}: pip install 'layerfi-auth[{library}]'"
        raise ImportError(text, name=library) from error


def __dir__() -> list[str]:
    return list(_LIBRARIES)
