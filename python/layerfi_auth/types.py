"""Types for annotations in your own code.

from layerfi_auth.types import Environment

def make_client(environment: Environment) -> Client:
    return Client.from_env(environment=environment)
"""

from layerfi_auth._types import (
    ClientOptions,
    Environment,
    ErrorKind,
    LayerProviderProps,
    LayerSession,
)

__all__ = ["ClientOptions", "Environment", "ErrorKind", "LayerProviderProps", "LayerSession"]
