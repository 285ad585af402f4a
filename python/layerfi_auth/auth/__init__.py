"""Ready-made authentication for the usual HTTP libraries, each an optional extra.

    import httpx
    from layerfi_auth.auth import HttpxAuth

    api = httpx.Client(base_url=client.api_url, auth=HttpxAuth(client))

Each adds the header with a valid token. A 401 throws that token away and sends the request
once more with a new one, unless its body was a stream that is gone. To other places than the
API (and the ``origins`` that you name) the token is not sent.

Each wants its library, as ``pip install 'layerfi-auth[httpx]'`` (or ``[requests]``,
``[aiohttp]``) installs it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerfi_auth.auth._aiohttp import aiohttp_middleware
    from layerfi_auth.auth._httpx import HttpxAuth
    from layerfi_auth.auth._requests import RequestsAuth

    __all__ = ["HttpxAuth", "RequestsAuth", "aiohttp_middleware"]

_LIBRARIES = {"HttpxAuth": "httpx", "RequestsAuth": "requests", "aiohttp_middleware": "aiohttp"}


# Imported when asked for: nobody has all three libraries, and they are slow to import.
def __getattr__(name: str) -> object:
    from importlib import import_module, util

    if name == "__all__":
        # For `import *`, which is to go without those whose library is not there.
        return [one for one, library in _LIBRARIES.items() if util.find_spec(library)]
    if name not in _LIBRARIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    library = _LIBRARIES[name]
    try:
        return getattr(import_module(f"layerfi_auth.auth._{library}"), name)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        told = f"{name} needs {library}: pip install 'layerfi-auth[{library}]'"
        raise ImportError(told, name=library) from error


def __dir__() -> list[str]:
    return list(_LIBRARIES)
