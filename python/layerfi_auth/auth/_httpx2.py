"""Authentication for httpx2, sync and async."""

from __future__ import annotations

import httpx2

from layerfi_auth.auth._httpx_flow import HttpxFlow


class Httpx2Auth(HttpxFlow, httpx2.Auth):
    """``auth=`` of `httpx2.Client` and `httpx2.AsyncClient`, or of one request.

    Raises `InvalidArgumentError` for a request to a URL other than the client's API and
    ``origins``. httpx2 removes the header when it follows a redirect to another origin.
    """

    _bytes_in_memory = httpx2.ByteStream
