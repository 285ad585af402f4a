"""Authentication for requests."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from requests import PreparedRequest, Response
from requests.auth import AuthBase

from layerfi_auth._client import Client
from layerfi_auth._native import AccessToken
from layerfi_auth.auth._reach import Reach

_UNAUTHORIZED = 401


class RequestsAuth(AuthBase):
    """``auth=`` of a `requests.Session`, or of one request.

    Raises `InvalidArgumentError` for a request that leads elsewhere than to the client's API
    or one of ``origins``. requests takes the header off itself where it follows a redirect to
    another host.
    """

    def __init__(self, client: Client, *, origins: Iterable[str] = ()) -> None:
        self._client = client
        self._reach = Reach(client, origins)

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put a token into the request, and watch for a 401."""
        self._reach.check(r.url or "")
        token = self._client.token()
        r.headers["Authorization"] = token.authorization
        hook = partial(self._answered, token, _position(r.body))
        r.register_hook("response", hook)  # type: ignore[no-untyped-call]
        return r

    def _answered(
        self, token: AccessToken, position: int | None, response: Response, **kwargs: Any
    ) -> Response:
        request = response.request
        # After a redirect it may be another's 401, to a request without our header.
        if (
            response.status_code != _UNAUTHORIZED
            or request.headers.get("Authorization") != token.authorization
            or not self._reach.holds(request.url or "")
        ):
            return response
        self._client.invalidate(token)
        again = request.copy()
        if not _rewind(again.body, position):
            return response
        fresh = self._client.token()
        if fresh == token:
            return response
        # Read to its end, so that its connection can carry the next one.
        _ = response.content
        response.close()
        again.headers["Authorization"] = fresh.authorization
        answer: Response = response.connection.send(again, **kwargs)
        answer.history.append(response)
        answer.request = again
        return answer


def _position(body: object) -> int | None:
    """Where a file-like body begins, if it can tell."""
    tell = getattr(body, "tell", None)
    try:
        return None if tell is None else int(tell())
    except OSError:
        return None


def _rewind(body: object, position: int | None) -> bool:
    """Whether a body is what it was before it was sent."""
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
