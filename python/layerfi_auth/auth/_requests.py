"""Authentication for requests."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from requests import PreparedRequest, Response
from requests.auth import AuthBase

from layerfi_auth._client import Client
from layerfi_auth._native import AccessToken
from layerfi_auth.auth._origins import allowed_origins

_UNAUTHORIZED = 401


class RequestsAuth(AuthBase):
    """``auth=`` of a `requests.Session`, or of one request.

    Raises `InvalidArgumentError` for a request to a URL other than the client's API and
    ``origins``. requests removes the header when it follows a redirect to another host.
    """

    def __init__(self, client: Client, *, origins: Iterable[str] = ()) -> None:
        self._client = client
        self._allowed = allowed_origins(client, origins)

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Add a token to the request, and a hook for a 401 response."""
        self._allowed.check(r.url or "")
        token = self._client.token()
        r.headers["Authorization"] = token.authorization
        hook = partial(self._handle_response, token, _position(r.body))
        r.register_hook("response", hook)  # type: ignore[no-untyped-call]
        return r

    def _handle_response(
        self, token: AccessToken, position: int | None, response: Response, **kwargs: Any
    ) -> Response:
        request = response.request
        # After a redirect, the 401 may answer a request without this header.
        if (
            response.status_code != _UNAUTHORIZED
            or request.headers.get("Authorization") != token.authorization
            or not self._allowed.allows(request.url or "")
        ):
            return response
        again = request.copy()
        if not _rewind(again.body, position):
            self._client.invalidate(token)
            return response
        fresh = self._client.renew_token(token)
        if fresh == token:
            return response
        # Read to the end, so that the connection can be used again.
        _ = response.content
        response.close()
        again.headers["Authorization"] = fresh.authorization
        answer: Response = response.connection.send(again, **kwargs)
        answer.history.append(response)
        answer.request = again
        return answer


def _position(body: object) -> int | None:
    """Return the current position of a file-like body, if it has one."""
    tell = getattr(body, "tell", None)
    try:
        return None if tell is None else int(tell())
    except OSError:
        return None


def _rewind(body: object, position: int | None) -> bool:
    """Restore a body to its state before it was sent; false if that is not possible."""
    if body is None or isinstance(body, str | bytes | bytearray):
        return True
    seek = getattr(body, "seek", None)
    if seek is None or position is None:
        return False
    try:
        seek(position)
    except OSError:
        return False
    return True
