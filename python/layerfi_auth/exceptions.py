"""What can go wrong: one class per kind, each with what a program may branch on.

The text never holds a secret, a token or the body of an answer.
"""

from __future__ import annotations

__all__ = [
    "ApiError",
    "ConfigError",
    "CredentialsError",
    "InternalError",
    "InvalidArgumentError",
    "LayerAuthError",
    "OAuthError",
    "ProtocolError",
    "RateLimitedError",
    "RequestTimeoutError",
    "TlsError",
    "TransportError",
]


class LayerAuthError(Exception):
    """Why a call failed; the base of all."""

    kind: str = "internal"
    """The kind's name, the same in every language and in the logs."""

    message: str
    """What failed, without the advice."""
    remedy: str
    """What to do about it."""
    retryable: bool
    """Whether the same call may succeed a little later. The client has retried by then."""
    http_status: int | None
    """The HTTP status of the answer, where there was one."""
    oauth_error: str | None
    """The OAuth error code, such as ``invalid_client`` (RFC 6749 section 5.2)."""
    error_enum: str | None
    """Layer's stable id of the failure."""
    retry_after: float | None
    """How many seconds the server asked to wait."""
    request_id: str | None
    """The server's id for the request, to quote to Layer's support."""
    field: str | None
    """The setting or argument that is wrong, such as ``client_id``."""
    attempts: int
    """How often the request was sent, retries included; 0 where none was."""
    business_id: str | None
    """Of an error in a batch: whose it is."""

    def __init__(
        self,
        text: str = "",
        *,
        message: str | None = None,
        remedy: str = "",
        retryable: bool = False,
        http_status: int | None = None,
        oauth_error: str | None = None,
        error_enum: str | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        field: str | None = None,
        attempts: int = 0,
        business_id: str | None = None,
    ) -> None:
        super().__init__(text)
        self.message = text if message is None else message
        self.remedy = remedy
        self.retryable = retryable
        self.http_status = http_status
        self.oauth_error = oauth_error
        self.error_enum = error_enum
        self.retry_after = retry_after
        self.request_id = request_id
        self.field = field
        self.attempts = attempts
        self.business_id = business_id


class ConfigError(LayerAuthError, ValueError):
    """A setting of the client is missing or wrong; ``field`` names it."""

    kind = "config"


class InvalidArgumentError(LayerAuthError, ValueError):
    """An argument of this call is wrong; nothing was sent. ``field`` names it."""

    kind = "invalid_argument"


class CredentialsError(LayerAuthError):
    """The credentials could not be read from their file or provider."""

    kind = "credentials"


class TransportError(LayerAuthError, ConnectionError):
    """The server could not be reached, or the connection broke."""

    kind = "transport"


class RequestTimeoutError(LayerAuthError, TimeoutError):
    """The call's time, or an attempt's, ran out."""

    kind = "timeout"


class TlsError(LayerAuthError, ConnectionError):
    """The server's certificate was not accepted, or the handshake failed."""

    kind = "tls"


class OAuthError(LayerAuthError):
    """The token endpoint refused; ``oauth_error`` has its code."""

    kind = "oauth"


class ApiError(LayerAuthError):
    """The Layer API refused; see ``http_status`` and ``error_enum``."""

    kind = "api"


class RateLimitedError(LayerAuthError):
    """Too many requests; ``retry_after`` says how long to wait."""

    kind = "rate_limited"


class ProtocolError(LayerAuthError):
    """The answer is not what the protocol allows."""

    kind = "protocol"


class InternalError(LayerAuthError):
    """No thread could be started, or a fault in this library. The client stays usable."""

    kind = "internal"
