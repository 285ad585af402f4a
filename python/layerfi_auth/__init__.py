"""Authentication for the Layer accounting API: gets, caches and renews tokens.

    from layerfi_auth import Client

    client = Client.from_env()        # LAYER_ENVIRONMENT, LAYER_CLIENT_ID, LAYER_CLIENT_SECRET
    header = client.authorization()   # "Bearer …", from the cache after the first call
    token = await client.token_async()  # the same engine and the same cache

Use one client in the whole program: in every thread, task, event loop and forked worker.
"""

from layerfi_auth._client import BatchProgress, BusinessTokens, Client
from layerfi_auth._native import AccessToken, BusinessToken, Stats, WhoAmI, __version__
from layerfi_auth.exceptions import (
    ApiError,
    ConfigError,
    CredentialsError,
    InternalError,
    InvalidArgumentError,
    LayerAuthError,
    OAuthError,
    ProtocolError,
    RateLimitedError,
    RequestTimeoutError,
    TlsError,
    TransportError,
)

__all__ = [
    "AccessToken",
    "ApiError",
    "BatchProgress",
    "BusinessToken",
    "BusinessTokens",
    "Client",
    "ConfigError",
    "CredentialsError",
    "InternalError",
    "InvalidArgumentError",
    "LayerAuthError",
    "OAuthError",
    "ProtocolError",
    "RateLimitedError",
    "RequestTimeoutError",
    "Stats",
    "TlsError",
    "TransportError",
    "WhoAmI",
    "__version__",
]
