"""Authentication for httpx, sync and async."""

from __future__ import annotations

import httpx

from layerfi_auth.auth._httpx_flow import HttpxFlow


class HttpxAuth(HttpxFlow, httpx.Auth):
    """``auth=`` of `httpx.Client` and `httpx.AsyncClient`, or of one request.

    Raises `InvalidArgumentError` for a request to a URL other than the client's API and
    ``origins``. httpx removes the header when it follows a redirect to another origin.
    """

    _bytes_in_memory = httpx.ByteStream
