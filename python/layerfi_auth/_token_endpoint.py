"""The token endpoint of a backend, as far as all web frameworks have it in common.

A page asks it for a session (`BusinessToken.to_session`). The frameworks' modules translate
requests and responses.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from layerfi_auth._client import Client
from layerfi_auth._native import BusinessToken
from layerfi_auth.exceptions import ConfigError, LayerAuthError

_log = logging.getLogger("layerfi_auth")

SESSION_DURATION = 28_800
"""Eight hours, because each new token makes all components fetch their data again."""

TIMEOUT = 5.0
"""Seconds: a page asks again, so it should not wait for long."""

_MIN_REMAINING = 5.0
"""A token with less is not given to a page: it would expire on the way."""

_MAX_BODY = 20_480


@dataclass(frozen=True)
class Answer:
    """A response: status, headers and JSON text."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


class TokenEndpoint:
    """Settings and decisions of a token endpoint."""

    def __init__(
        self,
        client: Client,
        *,
        session_duration: int = SESSION_DURATION,
        timeout: float = TIMEOUT,
        allow_get: bool = False,
        allow_origins: Iterable[str] = (),
    ) -> None:
        self._client = client
        self._session_duration = session_duration
        self._timeout = timeout
        self._allow_get = allow_get
        self._origins = frozenset(_checked_origins(allow_origins))

    @property
    def methods(self) -> list[str]:
        """The methods that the endpoint answers."""
        return ["POST", *(["GET"] if self._allow_get else []), "OPTIONS"]

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the headers of every answer to a request with this ``Origin``."""
        headers = {
            "Cache-Control": "no-store",
            "Vary": "Cookie, Origin" if self._origins else "Cookie",
            "X-Content-Type-Options": "nosniff",
        }
        if origin is not None and origin in self._origins:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
        return headers

    def preflight(self, origin: str | None) -> Answer:
        """Answer a browser that asks whether a page of another origin may call this."""
        headers = self.headers(origin)
        if "Access-Control-Allow-Origin" in headers:
            headers["Access-Control-Allow-Methods"] = ", ".join(self.methods[:-1])
            headers["Access-Control-Allow-Headers"] = "Content-Type"
            headers["Access-Control-Max-Age"] = "600"
        headers["Allow"] = ", ".join(self.methods)
        return Answer(204, "", headers)

    def forbidden(self, origin: str | None) -> Answer:
        """Answer a user whom the application's own code refuses."""
        body = json.dumps({"error": "forbidden"})
        return Answer(403, body, self._json_headers(origin))

    def answer(
        self, business_id: str | UUID | None, body: bytes, origin: str | None = None
    ) -> Answer:
        """Answer a request of a user of this business; ``None`` is nobody."""
        try:
            refused = _refused(business_id, body)
            token = (
                self._client.business_token(
                    _known(business_id),
                    session_duration=self._session_duration,
                    timeout=self._timeout,
                )
                if refused is None
                else self._client.renew_business_token(
                    _known(business_id),
                    refused,
                    session_duration=self._session_duration,
                    timeout=self._timeout,
                )
            )
            return self._session(token, origin)
        except (_RefusalError, LayerAuthError) as error:
            return self._failed(error, business_id, origin)

    async def answer_async(
        self, business_id: str | UUID | None, body: bytes, origin: str | None = None
    ) -> Answer:
        """Answer a request as `answer` does, without blocking the event loop."""
        try:
            refused = _refused(business_id, body)
            token = (
                await self._client.business_token_async(
                    _known(business_id),
                    session_duration=self._session_duration,
                    timeout=self._timeout,
                )
                if refused is None
                else await self._client.renew_business_token_async(
                    _known(business_id),
                    refused,
                    session_duration=self._session_duration,
                    timeout=self._timeout,
                )
            )
            return self._session(token, origin)
        except (_RefusalError, LayerAuthError) as error:
            return self._failed(error, business_id, origin)

    def _session(self, token: BusinessToken, origin: str | None) -> Answer:
        if token.remaining < _MIN_REMAINING:
            # An outage of Layer, during which no new token can be had.
            raise _RefusalError(
                503, "timeout", "the business token has less than 5 s left", 1.0
            )
        body = json.dumps(token.to_session())
        return Answer(200, body, self._json_headers(origin))

    def _failed(
        self,
        error: _RefusalError | LayerAuthError,
        business_id: str | UUID | None,
        origin: str | None,
    ) -> Answer:
        headers = self._json_headers(origin)
        if isinstance(error, _RefusalError):
            status, wait = error.status, error.retry_after
        elif error.retryable:
            status, wait = 503, error.retry_after or 1.0
        else:
            is_unknown = error.http_status == _NOT_FOUND or error.field == "business_id"
            status, wait = (404 if is_unknown else 502), None
        if wait is not None:
            headers["Retry-After"] = str(max(1, math.ceil(wait)))
        _log.warning(
            "the token endpoint answered %d for business %s: %s",
            status,
            _shown(business_id),
            error,
            extra={"kind": error.kind, "status": status},
        )
        return Answer(status, json.dumps({"error": error.kind}), headers)

    def _json_headers(self, origin: str | None) -> dict[str, str]:
        return {**self.headers(origin), "Content-Type": "application/json"}


_NOT_FOUND = 404


class _RefusalError(Exception):
    """A request that gets no session, for a reason of the endpoint's own."""

    def __init__(
        self, status: int, kind: str, why: str, retry_after: float | None = None
    ) -> None:
        super().__init__(why)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


def _known(business_id: str | UUID | None) -> str | UUID:
    if business_id is None:
        raise _RefusalError(401, "unauthenticated", "the user is not signed in")
    return business_id


def _refused(business_id: str | UUID | None, body: bytes) -> str | None:
    """Return the token that a page reports as refused, from the request's JSON."""
    _known(business_id)
    if not body.strip():
        return None
    wrong = _RefusalError(
        400, "invalid_argument", 'the body must be {} or {"refused": "<token>"}'
    )
    if len(body) > _MAX_BODY:
        raise wrong
    try:
        given = json.loads(body)
    except ValueError:
        raise wrong from None
    refused = given.get("refused") if isinstance(given, dict) else wrong
    if refused is None or isinstance(refused, str):
        return refused
    raise wrong


def _shown(business_id: str | UUID | None) -> str:
    """Return the id for a log: one line, and not long."""
    return "none" if business_id is None else repr(str(business_id)[:64])


def _checked_origins(origins: Iterable[str]) -> list[str]:
    checked = [origins] if isinstance(origins, str) else list(origins)
    for origin in checked:
        scheme, _, host = origin.partition("://")
        if scheme not in ("http", "https") or not host or set(host) & set("/*?#@"):
            raise ConfigError(
                f"allow_origins has {origin!r}, which is not an origin",
                remedy="give the page's scheme, host and port, such as "
                "https://app.example.com; * is not possible, because the answer depends on "
                "the user",
                field="allow_origins",
            )
    return checked
