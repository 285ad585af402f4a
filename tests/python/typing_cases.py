"""Code of users, for the type checker: a line with `# E: code` must be an error, no other may.

`test_types.py` runs mypy --strict on it. It is not imported.
"""

# ruff: noqa: B018

from __future__ import annotations

from typing import assert_type
from uuid import UUID

from layerfi_auth import (
    AccessToken,
    BatchProgress,
    BusinessToken,
    Client,
    ConfigError,
    LayerAuthError,
    OAuthError,
    Stats,
    WhoAmI,
    __version__,
)
from layerfi_auth.auth import HttpxAuth, RequestsAuth
from layerfi_auth.testing import BUSINESS_ID, Emulator
from layerfi_auth.types import ClientOptions, Environment, ErrorKind


def make(environment: Environment, name: str) -> Client:
    Client(environment=name)  # E: arg-type
    Client(environment="prod")  # E: arg-type
    Client("sandbox")  # E: call-arg
    Client(environment="sandbox", enviroment="sandbox")  # E: call-arg
    Client(environment="sandbox", timeout="5")  # E: arg-type
    Client(environment="sandbox", credentials=("id", "secret"))  # E: arg-type
    Client(environment="sandbox", credentials=lambda: "secret")  # E: arg-type, return-value
    Client(environment="sandbox", proxy=True)  # E: arg-type
    Client(environment="sandbox", basic_encoding="base64")  # E: arg-type
    Client(environment="sandbox", trust="mozilla")  # E: arg-type
    Client.from_env(timeout="5")  # E: arg-type
    Client.from_env(timout=5)  # E: call-arg
    options: ClientOptions = {"environment": "sandbox", "timeout": 5}
    assert_type(Client.from_env(**options), Client)
    return Client(
        environment=environment,
        client_id="id",
        credentials=lambda: ("id", "secret"),
        timeout=10,
        proxy=False,
        ca_pem=b"pem",
    )


def sync_calls(client: Client) -> None:
    client.prepare()
    assert_type(client.token(), AccessToken)
    assert_type(client.token(timeout=5).expires_in, int)
    assert_type(client.authorization(), str)
    assert_type(client.try_token(), "AccessToken | None")
    assert_type(client.whoami(), WhoAmI)
    assert_type(client.business_token(UUID(BUSINESS_ID), session_duration=900), BusinessToken)
    assert_type(client.mint_business_token(BUSINESS_ID).to_dict(), "dict[str, str | int]")
    assert_type(client.stats(), Stats)
    assert_type(client.stats().failures, "dict[str, int]")
    assert_type(client.environment, Environment)
    assert_type(client.invalidate(client.authorization()), bool)
    client.token(5)  # E: call-arg
    client.token(timeout="5")  # E: arg-type
    client.try_token().secret  # E: union-attr
    client.business_token(17)  # E: arg-type
    client.business_token(BUSINESS_ID, session_duration=900.0)  # E: arg-type
    client.invalidate(b"token")  # E: arg-type
    client.environment = "sandbox"  # E: misc
    headers: dict[str, str] = {"Authorization": client.token()}  # E: dict-item
    headers["Authorization"] = client.token().authorization
    headers["Authorization"] = client.token()  # E: assignment
    assert_type(__version__, str)


async def async_calls(client: Client) -> None:
    assert_type(await client.token_async(timeout=5), AccessToken)
    assert_type(await client.authorization_async(), str)
    assert_type(await client.whoami_async(), WhoAmI)
    assert_type(await client.business_token_async(BUSINESS_ID), BusinessToken)
    assert_type(await client.mint_business_token_async(BUSINESS_ID), BusinessToken)
    client.token_async().secret  # E: attr-defined
    async for result in client.business_tokens([BUSINESS_ID]):
        assert_type(result, "BusinessToken | LayerAuthError")
    async with client as entered:
        assert_type(entered, Client)


def batch(client: Client) -> list[BusinessToken]:
    tokens: list[BusinessToken] = []
    results = client.business_tokens([BUSINESS_ID, UUID(BUSINESS_ID)], max_in_flight=8)
    for result in results:
        result.secret  # E: union-attr
        if isinstance(result, LayerAuthError):
            assert_type(result.business_id, "str | None")
        else:
            tokens.append(result)
    assert_type(results.progress, BatchProgress)
    client.business_tokens([17])  # E: list-item
    return tokens


def errors(client: Client) -> ErrorKind | None:
    try:
        client.token()
    except OAuthError as error:
        assert_type(error.oauth_error, "str | None")
        if error.kind == "oauht":  # E: comparison-overlap
            return None
        return error.kind
    except ConfigError as error:
        assert_type(error.field, "str | None")
        raise
    except LayerAuthError as error:
        assert_type(error.retry_after, "float | None")
        assert_type(error.to_dict(), "dict[str, str | int | float | bool | None]")
    return None


class Mine(Client):  # E: misc
    pass


def helpers(client: Client) -> None:
    HttpxAuth(client, origins=["https://mcp.example.com"])
    RequestsAuth("client")  # E: arg-type


def emulated() -> None:
    with Emulator(environment="production", rate_limit=None, port=0) as layer:
        assert_type(layer, Emulator)
        assert_type(layer.client(timeout=5), Client)
        assert_type(layer.count("token"), int)
        layer.count("tokens")  # E: arg-type
        layer.fault("whoami", status=503, times="forever")
        layer.fault("who")  # E: arg-type
        layer.client(timout=5)  # E: call-arg
        layer.revoke_all("all")  # E: arg-type
        layer.rotate("id", b"secret")  # E: arg-type
        Emulator(environment="custom")  # E: arg-type
