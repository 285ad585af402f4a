"""Exceptions: one class for each kind of error.

Their texts never contain a secret, a token or a response body.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerfi_auth._types import ErrorKind
else:
    # `typing` takes longer to import than this package.
    ErrorKind = str

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
    """Base class of all errors of this package."""

    kind: ErrorKind = "internal"
    """Name of the kind of error, the same in every language and in logs."""

    message: str
    """What failed, without the remedy."""
    remedy: str
    """What to do."""
    retryable: bool
    """Whether the same call may succeed later. The client has already retried."""
    http_status: int | None
    """The HTTP status of the response, if there was one."""
    oauth_error: str | None
    """The OAuth error code, such as ``invalid_client`` (RFC 6749 section 5.2)."""
    error_enum: str | None
    """Layer's stable id of the failure."""
    retry_after: float | None
    """Seconds that the server asked to wait."""
    request_id: str | None
    """The server's id of the request, for Layer's support."""
    field: str | None
    """The invalid setting or argument, such as ``client_id``."""
    attempts: int
    """How often the request was sent, including retries; 0 if it was not sent."""
    business_id: str | None
    """The business of an error in a batch."""

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

    def to_dict(self) -> dict[str, str | int | float | bool | None]:
        """Return all attributes as a dict for JSON, for example for a structured log."""
        return {name: getattr(self, name) for name in LayerAuthError.__annotations__}


class ConfigError(LayerAuthError, ValueError):
    """A setting of the client is missing or invalid; ``field`` names it."""

    kind = "config"


class InvalidArgumentError(LayerAuthError, ValueError):
    """An argument is invalid; no request was sent. ``field`` names it."""

    kind = "invalid_argument"


class CredentialsError(LayerAuthError):
    """The credentials could not be read from the file or the provider."""

    kind = "credentials"


class TransportError(LayerAuthError, ConnectionError):
    """The server could not be reached, or the connection broke."""

    kind = "transport"


class RequestTimeoutError(LayerAuthError, TimeoutError):
    """The call or an attempt timed out."""

    kind = "timeout"


class TlsError(LayerAuthError, ConnectionError):
    """The server's certificate was not accepted, or the handshake failed."""

    kind = "tls"


class OAuthError(LayerAuthError):
    """The token endpoint refused the request; ``oauth_error`` is its error code.

    There is no code for HTTP 400 or 401 without a body.
    """

    kind = "oauth"


class ApiError(LayerAuthError):
    """The Layer API returned an error, or the token endpoint returned one without OAuth code.

    See ``http_status`` and ``error_enum``.
    """

    kind = "api"


class RateLimitedError(LayerAuthError):
    """Too many requests; ``retry_after`` is the time to wait."""

    kind = "rate_limited"


class ProtocolError(LayerAuthError):
    """The response does not follow the protocol."""

    kind = "protocol"


class InternalError(LayerAuthError):
    """No thread could be started, or this library has a bug. The client stays usable."""

    kind = "internal"
