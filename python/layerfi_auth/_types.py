"""Types for the package's annotations. `layerfi_auth` does not import it at run time."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Literal, ParamSpec, Protocol, TypeAlias, TypedDict, TypeVar

__all__ = [
    "ClientOptions",
    "EmulatedEnvironment",
    "Endpoint",
    "Environment",
    "EnvironmentConfig",
    "ErrorKind",
    "LayerProviderProps",
    "LayerSession",
    "P",
    "Post",
    "Settle",
    "T",
]

Environment: TypeAlias = Literal["sandbox", "production", "production-ca", "custom"]
"""Name of an environment."""

ErrorKind: TypeAlias = Literal[
    "config",
    "invalid_argument",
    "credentials",
    "transport",
    "timeout",
    "tls",
    "oauth",
    "api",
    "rate_limited",
    "protocol",
    "internal",
]
"""Name of a kind of error."""

EmulatedEnvironment: TypeAlias = Literal["sandbox", "production", "production-ca"]
"""Name of an environment that the emulator imitates."""

Endpoint: TypeAlias = Literal[
    "token",
    "whoami",
    "auth_token",
    "business",
    "business_data",
    "preflight",
    "unknown",
    "proxy",
]
"""Name of an endpoint of the emulator."""

P = ParamSpec("P")
T = TypeVar("T")
_T_contra = TypeVar("_T_contra", contravariant=True)

Post: TypeAlias = Callable[..., object]
"""Calls a function with arguments on an event loop's thread."""


class Settle(Protocol[_T_contra]):
    """Takes a call's value or its error on the event loop's thread."""

    def __call__(self, value: _T_contra, error: BaseException | None, /) -> None: ...


class EnvironmentConfig(TypedDict):
    """URLs and scope of an environment that is not Layer's own, for ``<LayerProvider>``."""

    environment: str
    apiUrl: str
    authUrl: str
    scope: str


class _BusinessProps(TypedDict):
    businessId: str
    businessAccessToken: str


class LayerProviderProps(_BusinessProps, total=False):
    """Props of ``<LayerProvider>``: business, token, and one of these two."""

    environment: str
    environmentConfigOverride: EnvironmentConfig


class LayerSession(TypedDict):
    """What a page needs to show Layer's components."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    expires_at: str
    business_id: str
    session_duration: int
    renew_in: int
    layer_provider_props: LayerProviderProps


class ClientOptions(TypedDict, total=False):
    """The options of `layerfi_auth.Client`."""

    environment: Environment | None
    client_id: str | None
    client_secret: str | None
    client_secret_file: str | PathLike[str] | None
    credentials: Callable[[], tuple[str, str]] | None
    api_url: str | None
    auth_url: str | None
    scope: str | None
    basic_encoding: Literal["raw", "form"] | None
    ca_file: str | PathLike[str] | None
    ca_pem: str | bytes | None
    trust: Literal["system", "bundled", "ca_only"] | None
    proxy: str | Literal[False] | None
    allow_http_loopback: bool | None
    allow_opaque_business_ids: bool | None
    timeout: float | None
    connect_timeout: float | None
    attempt_timeout: float | None
    max_attempts: int | None
    business_token_capacity: int | None
    keep_warm: bool | None
    shared_cache: str | None
    shared_cache_key: str | None
    shared_cache_prefix: str | None
    shared_business_tokens: bool | None
    user_agent: str | None
