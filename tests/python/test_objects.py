"""Tokens, errors and the client as Python objects."""

from __future__ import annotations

import asyncio
import copy
import importlib.metadata
import inspect
import json
import pickle
import pydoc
import time
import traceback
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

import layerfi_auth
from conftest import BUSINESS, TIMEOUT, business
from layerfi_auth import (
    ApiError,
    BusinessToken,
    Client,
    ConfigError,
    InvalidArgumentError,
    LayerAuthError,
    OAuthError,
    RequestTimeoutError,
    TransportError,
    WhoAmI,
)
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET, Emulator


def test_access_token_fields(client):
    token = client.token()
    assert client.token() is token
    assert client.authorization() is token.authorization
    assert token.authorization == f"Bearer {token.secret}"
    assert token.expires_at.tzinfo == timezone.utc
    hour = token.expires_at - datetime.now(timezone.utc)
    assert timedelta(minutes=59) < hour <= timedelta(minutes=60, seconds=1)
    assert 3540 < token.remaining <= 3601
    assert token.expires_in == 3600
    assert token == token
    assert token != object()
    assert copy.copy(token) is token
    assert copy.deepcopy({"token": token})["token"] is token


def test_tokens_compare_by_their_text(layer):
    one, other = layer.client(), layer.client()
    layer.fault("token", body={"access_token": "same", "token_type": "bearer"}, times=2)
    assert one.token() is not other.token()
    assert one.token() == other.token()
    assert len({one.token(), other.token()}) == 1
    third = layer.client().token()
    assert third != one.token()
    assert len({one.token(), third}) == 2


def test_business_token_fields(client):
    token = client.business_token(BUSINESS.upper(), session_duration=900)
    assert isinstance(token, BusinessToken)
    assert client.business_token(BUSINESS, session_duration=900) == token
    assert (token.business_id, token.session_duration, token.expires_in) == (BUSINESS, 900, 900)
    answer = json.loads(json.dumps(token.to_dict()))
    assert 840 <= answer.pop("expires_in") <= 900
    expires_at = answer.pop("expires_at")
    assert expires_at.endswith("Z")
    shown = datetime.fromisoformat(expires_at.replace("Z", "+00:00"))
    assert abs(shown - token.expires_at) < timedelta(seconds=1)
    assert answer == {
        "access_token": token.secret,
        "token_type": "Bearer",
        "business_id": BUSINESS,
    }
    assert client.mint_business_token(BUSINESS, session_duration=900) != token


def test_b29_session_of_a_page(client):
    token = client.business_token(BUSINESS, session_duration=900)
    session = json.loads(json.dumps(token.to_session()))
    assert session.pop("layer_provider_props") == token.layer_provider_props()
    assert session.pop("session_duration") == 900
    # Half of its lifetime.
    assert 390 <= session.pop("renew_in") <= 450
    plain = token.to_dict()
    assert session.pop("expires_in") <= 900
    del plain["expires_in"]
    assert session == plain
    # It is new: a page that refuses it would refuse another one too.
    for refused in (token, token.secret, token.authorization, "another"):
        renewed = client.renew_business_token(BUSINESS, refused, session_duration=900)
        assert renewed == token
        call = client.renew_business_token_async(BUSINESS, refused, session_duration=900)
        assert asyncio.run(call) == token


def test_layer_provider_props_of_a_custom_environment(layer, client):
    token = client.business_token(BUSINESS)
    assert token.layer_provider_props() == {
        "businessId": BUSINESS,
        "businessAccessToken": token.secret,
        "environmentConfigOverride": {
            "environment": "sandbox",
            "apiUrl": layer.url,
            "authUrl": layer.token_url,
            "scope": layer.scope,
        },
    }


def test_layer_provider_props_take_another_environment(client):
    props = client.business_token(BUSINESS).layer_provider_props(environment="production")
    assert props["environmentConfigOverride"]["environment"] == "production"


def test_layer_provider_props_override_keeps_the_name_of_the_environment():
    with Emulator(tls=True, rate_limit=None) as layer:
        client = layer.client(environment="sandbox", scope=None)
        props = client.business_token(BUSINESS).layer_provider_props()
        # The URLs are the emulator's, so the props are an override.
        assert props["environmentConfigOverride"]["environment"] == "sandbox"
        assert "environment" not in props


@pytest.mark.parametrize("name", ["sandbox", "production", "production-ca"])
def test_predefined_environments(name):
    client = Client(environment=name, client_id="a", client_secret="b")
    assert client.environment == name
    assert client.api_url.startswith("https://")
    assert client.auth_url == "https://auth.layerfi.com/oauth2/token"
    assert client.scope.startswith("https://")


def test_whoami(client):
    me = client.whoami()
    assert me == WhoAmI("Layer Example", "018f1657-dc66-7482-917b-c0c0e532f52b")
    assert (me.client_name, me.client_id) == ("Layer Example", me.client_id)
    assert pickle.loads(pickle.dumps(me)) == me
    assert hash(me) == hash(pickle.loads(pickle.dumps(me)))
    assert me != "Layer Example"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_b20_objects_with_secrets_cannot_be_pickled(client, protocol):
    for thing in (client, client.token(), client.business_token(BUSINESS)):
        with pytest.raises(TypeError, match="holds a secret"):
            pickle.dumps(thing, protocol)


def test_b20_repr_and_errors_show_no_secret(layer, client):
    token, for_browser = client.token(), client.business_token(BUSINESS)
    layer.fault("whoami", status=400, body="canary " + token.secret)
    try:
        client.whoami()
    except ApiError as error:
        shown = [repr(error), str(error), repr(vars(error)), traceback.format_exc()]
        error_dict = error.to_dict()
    shown += [repr(thing) for thing in (client, token, for_browser, client.stats(), layer)]
    shown += [f"{token!r}", repr(for_browser), str(client), repr({"x": [token, for_browser]})]
    shown += [
        json.dumps(token.to_dict()),
        json.dumps(error_dict),
        str(client.stats().to_dict()),
    ]
    for text in shown:
        assert token.secret not in text
        assert for_browser.secret not in text
        assert CLIENT_SECRET not in text
        assert "canary" not in text
    assert not hasattr(client, "__dict__")
    assert not hasattr(token, "__dict__")


def test_b20_token_that_is_formatted_into_text_is_an_error(client):
    """Otherwise a header would silently contain the repr."""
    token, for_browser = client.token(), client.business_token(BUSINESS)
    for one, instead in ((token, "client.authorization()"), (for_browser, "token.to_dict()")):
        for format_it in (
            str,
            print,
            lambda t: f"Bearer {t}",
            lambda t: f"{t!s}",
            lambda t: f"{t:>50}",
            lambda t: "Bearer {}".format(t),  # noqa: UP032
            lambda t: "Bearer %s" % t,  # noqa: UP031
            lambda t: json.dumps({"token": t}, default=str),
        ):
            with pytest.raises(TypeError, match="is not text: use") as caught:
                format_it(one)
            assert instead in str(caught.value)
            assert one.secret not in str(caught.value)
        with pytest.raises(TypeError, match="concatenate str"):
            "Bearer " + one
        assert "redacted" in f"{one!r}"
        assert "redacted" in "{!r}".format(one)  # noqa: UP032
    assert f"{token.authorization}" == client.authorization()


def test_dicts_can_be_json_and_have_every_attribute(layer, client):
    token = client.token()
    answer = json.loads(json.dumps(token.to_dict()))
    assert set(answer) == {"token_type", "expires_in", "expires_at"}
    assert answer["expires_at"].endswith("Z")
    assert 3500 < answer["expires_in"] <= 3600
    with_secret = token.to_dict(include_secret=True)
    assert with_secret.pop("access_token") == token.secret
    assert set(with_secret) == set(answer)
    with pytest.raises(TypeError, match="include_secret must be a bool, not int"):
        token.to_dict(include_secret=1)

    me = client.whoami()
    assert me.to_dict() == {"client_name": me.client_name, "client_id": me.client_id}

    stats = client.stats()
    answer = json.loads(json.dumps(stats.to_dict()))
    attributes = [
        name
        for name, member in inspect.getmembers(type(stats))
        if inspect.isgetsetdescriptor(member)
    ]
    assert sorted(answer) == sorted(attributes)
    shown = datetime.fromisoformat(answer.pop("expires_at").replace("Z", "+00:00"))
    assert abs(shown - stats.expires_at) < timedelta(seconds=1)
    assert all(getattr(stats, name) == value for name, value in answer.items())
    assert layer.client().stats().to_dict()["expires_at"] is None

    batch = client.business_tokens([BUSINESS, "nonsense"])
    _, error = list(batch)
    assert batch.progress.to_dict() == {"total": 2, "distinct": 2, "done": 2, "failed": 1}
    answer = json.loads(json.dumps(error.to_dict()))
    assert answer == {**vars(error), "kind": "invalid_argument"}
    assert (answer["business_id"], answer["field"]) == ("nonsense", "business_id")
    error.add_note("a note") if hasattr(error, "add_note") else None
    assert error.to_dict() == answer


def test_b20_secret_passed_to_a_wrong_parameter_is_not_shown():
    for options in ({"timeout": "canary"}, {"client_id": ["canary"]}, {"ca_file": b"canary\0"}):
        with pytest.raises((TypeError, ValueError)) as caught:
            Client(environment="sandbox", client_id="a", client_secret="b", **options)
        assert "canary" not in str(caught.value)


def test_invalid_options_are_refused():
    with pytest.raises(ConfigError) as caught:
        Client()
    assert (caught.value.field, caught.value.kind) == ("environment", "config")
    assert "LAYER_" not in str(caught.value), "a variable that Client() does not read"
    assert "set environment to sandbox" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        Client(enviroment="sandbox")
    with pytest.raises(TypeError):
        Client("sandbox")
    for field, value in [
        ("timeout", -1), ("timeout", float("nan")), ("timeout", 0), ("max_attempts", -1),
        ("max_attempts", 0), ("basic_encoding", "base64"), ("environment", "prod"),
        ("trust", "mozilla"), ("trust", "ca_only"),
        ("business_token_capacity", 0), ("user_agent", "a\nb"), ("client_id", "a:b"),
        ("shared_cache", "http://cache"),
    ]:  # fmt: skip
        options = {"environment": "sandbox", "client_id": "a", "client_secret": "b"}
        with pytest.raises(ConfigError) as caught:
            Client(**{**options, field: value})
        assert caught.value.field == field


def test_signature_lists_exactly_the_accepted_options():
    names = inspect.signature(Client).parameters
    assert len(names) == 26
    values = {
        "environment": "sandbox", "client_id": "a", "client_secret": "b",
        "client_secret_file": None, "credentials": None, "api_url": "https://a.example",
        "auth_url": "https://a.example/t", "scope": "s", "basic_encoding": "raw",
        "ca_file": None, "ca_pem": None, "trust": "bundled", "proxy": False,
        "allow_http_loopback": True,
        "allow_opaque_business_ids": True, "timeout": 1, "connect_timeout": 1.5,
        "attempt_timeout": 2, "max_attempts": 3, "business_token_capacity": 4,
        "keep_warm": False, "shared_cache": "redis://:password@127.0.0.1:6379/0",
        "shared_cache_key": "k", "shared_cache_prefix": "fleet-1",
        "shared_business_tokens": False, "user_agent": "x/1",
    }  # fmt: skip
    assert set(names) == set(values)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in names.values())
    Client(**values)


def test_from_env(layer, monkeypatch):
    for name, value in layer.env().items():
        monkeypatch.setenv(name, value)
    assert Client.from_env(proxy=False).token()
    assert Client.from_env(environment="sandbox").environment == "sandbox"
    monkeypatch.delenv("LAYER_CLIENT_SECRET")
    with pytest.raises(ConfigError) as caught:
        Client.from_env()
    assert caught.value.field == "client_secret"


def test_copy_of_a_client_is_the_client_and_subclassing_fails(client):
    assert copy.copy(client) is client
    assert copy.deepcopy({"client": client})["client"] is client
    assert repr(client).startswith("<Client of custom at http://127.0.0.1:")
    with pytest.raises(TypeError, match="cannot be subclassed"):
        type("Mine", (Client,), {})


def test_client_works_after_its_context_manager(layer):
    with layer.client() as client:
        assert client.token()
    assert client.token()


def test_errors_have_fields_and_builtin_bases(layer):
    layer.fault(
        "token",
        status=400,
        headers={"x-request-id": "r-1"},
        body={"error": "invalid_client"},
    )
    with pytest.raises(OAuthError) as caught:
        layer.client().token()
    error = caught.value
    assert (error.kind, error.oauth_error, error.http_status) == (
        "oauth",
        "invalid_client",
        400,
    )
    assert error.retryable is False
    assert error.request_id == "r-1"

    client = layer.client(max_attempts=1)
    layer.fault("whoami", status=429, headers={"retry-after": "3"})
    with pytest.raises(layerfi_auth.RateLimitedError) as caught:
        client.whoami()
    assert caught.value.retry_after == 3.0
    assert caught.value.retryable
    assert caught.value.attempts == 1

    layer.fault("whoami", delay_ms=2_000)
    with pytest.raises(TimeoutError) as caught:
        client.whoami(timeout=0.1)
    assert isinstance(caught.value, RequestTimeoutError)
    assert isinstance(caught.value, LayerAuthError)
    assert caught.value.kind == "timeout"

    layer.fault("whoami", wire={"close": "before"})
    with pytest.raises(ConnectionError) as caught:
        client.whoami()
    assert isinstance(caught.value, TransportError)

    with pytest.raises(ValueError, match="UUID") as caught:
        client.business_token("..")
    assert caught.value.field == "business_id"
    for duration in (0, -1, 86_401, 2**40):
        with pytest.raises(InvalidArgumentError) as caught:
            client.mint_business_token(BUSINESS, session_duration=duration)
        assert caught.value.field == "session_duration"
    for timeout in (0, -1.0, float("nan")):
        with pytest.raises(InvalidArgumentError) as caught:
            client.whoami(timeout=timeout)
        assert caught.value.field == "timeout"


def test_invalid_timeout_is_refused_on_a_cache_hit(client):
    client.business_token(BUSINESS)
    for timeout in (0, -1.0, float("nan")):
        for call in (
            lambda timeout: client.token(timeout=timeout),
            lambda timeout: client.authorization(timeout=timeout),
            lambda timeout: client.business_token(BUSINESS, timeout=timeout),
            lambda timeout: client.token_async(timeout=timeout).send(None),
            lambda timeout: client.authorization_async(timeout=timeout).send(None),
            lambda timeout: client.business_token_async(BUSINESS, timeout=timeout).send(None),
        ):
            with pytest.raises(InvalidArgumentError) as caught:
                call(timeout)
            assert caught.value.field == "timeout"
    assert client.token(timeout=1)


def test_business_ids_are_text_or_uuids(client):
    uuid = UUID(BUSINESS)
    token = client.business_token(uuid)
    assert (token.business_id, client.business_token(BUSINESS)) == (BUSINESS, token)
    assert asyncio.run(client.business_token_async(uuid)) == token
    assert client.mint_business_token(uuid).business_id == BUSINESS
    assert asyncio.run(client.mint_business_token_async(uuid)).business_id == BUSINESS
    assert list(client.business_tokens([uuid, BUSINESS])) == [token, token]
    for wrong in (17, BUSINESS.encode(), None):
        with pytest.raises(TypeError, match="business_id must be a str or a uuid.UUID, not"):
            client.business_token(wrong)
    with pytest.raises(TypeError, match=r"business_ids\[1\] must be .*, not int"):
        client.business_tokens([BUSINESS, 17])
    for wrong in (BUSINESS, BUSINESS.encode()):
        with pytest.raises(TypeError, match="iterable of ids, not (str|bytes)"):
            client.business_tokens(wrong)
    with pytest.raises(InvalidArgumentError, match="business_id"):
        client.business_token("\ud800")


def test_wheel_installs_only_the_package():
    files = importlib.metadata.files("layerfi-auth")
    others = {
        one.parts[0]
        for one in files
        if one.parts[0] != ".." and not one.parts[0].startswith("layerfi_auth")
    }
    assert others == set()
    assert any("licenses" in one.parts and one.name == "LICENSE-MIT" for one in files)


def test_errors_can_be_pickled(layer):
    layer.fault("token", status=400, body={"error": "invalid_client"})
    with pytest.raises(OAuthError) as caught:
        layer.client().token()
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is OAuthError
    assert str(again) == str(caught.value)
    assert vars(again) == vars(caught.value)


def test_every_error_kind_has_a_class():
    classes = {
        one.kind: one
        for one in vars(layerfi_auth).values()
        if inspect.isclass(one)
        and issubclass(one, LayerAuthError)
        and one is not LayerAuthError
    }
    assert set(classes) == {
        "config", "invalid_argument", "credentials", "transport", "timeout", "tls", "oauth",
        "api", "rate_limited", "protocol", "internal",
    }  # fmt: skip


def test_credentials_from_a_callable(layer):
    asked = []

    def vault():
        asked.append(None)
        return CLIENT_ID, CLIENT_SECRET

    client = layer.client(credentials=vault, client_id=None)
    assert client.token() is client.token()
    assert len(asked) == 1

    def broken():
        raise OSError("the vault is locked")

    with pytest.raises(layerfi_auth.CredentialsError, match="it raised OSError") as caught:
        layer.client(credentials=broken, client_id=None).token()
    assert str(caught.value.__cause__) == "the vault is locked"
    with pytest.raises(layerfi_auth.CredentialsError, match="client_id, client_secret"):
        layer.client(credentials=lambda: "just-a-string", client_id=None).token()
    with pytest.raises(TypeError, match="credentials must be a callable"):
        layer.client(credentials=("id", "secret"))


def test_b06_rotated_secret_file_is_read_again(layer, tmp_path):
    file = tmp_path / "secret"
    file.write_text(CLIENT_SECRET)
    client = layer.client(client_secret_file=file)
    first = client.token()
    layer.rotate(CLIENT_ID, "another")
    file.write_text("another\n")
    layer.revoke(first)
    assert client.invalidate(first)
    assert client.token() != first


def test_invalidate(client):
    token, for_browser = client.token(), client.business_token(BUSINESS)
    assert client.invalidate(token) is True
    assert client.invalidate(token) is False
    assert client.token() != token
    assert client.invalidate(for_browser) is True
    assert client.business_token(BUSINESS) != for_browser
    # The header or the token's text can be passed as well.
    for text_of in (client.authorization, lambda: client.token().secret):
        text = text_of()
        assert client.invalidate(text) is True
        assert client.invalidate(text) is False
        assert client.authorization() not in (text, f"Bearer {text}")
    # So can those of a business token.
    for text_of in (lambda t: t.secret, lambda t: f"Bearer {t.secret}"):
        for_browser = client.business_token(BUSINESS)
        assert client.invalidate(text_of(for_browser)) is True
        assert client.invalidate(text_of(for_browser)) is False
        assert client.business_token(BUSINESS) != for_browser
    for text in ("a token", "", "Bearer ", "\ud800"):
        assert client.invalidate(text) is False
    for wrong in (client.token().secret.encode(), None):
        with pytest.raises(TypeError, match="token must be an AccessToken, a BusinessToken"):
            client.invalidate(wrong)


def test_try_token_never_waits(layer, client):
    layer.fault("token", hold=True)
    assert client.try_token() is None
    assert layer.wait_for("token", 1)
    assert client.try_token() is None
    layer.release()
    assert client.token() is client.try_token()
    assert layer.count("token") == 1


def test_b06_try_token_raises_the_last_failure(layer):
    client = layer.client(client_secret="not the secret")

    def poll():
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            assert client.try_token() is None
            time.sleep(0.01)

    with pytest.raises(OAuthError, match="invalid_client"):
        poll()
    assert layer.count("token") == 1


def test_b24_stats_count_events(client):
    client.token()
    client.authorization()
    client.business_token(BUSINESS)
    stats = client.stats()
    assert stats.token_requests == 1
    assert stats.mints == 1
    assert stats.misses == 2
    assert stats.hits >= 1
    assert stats.business_tokens == 1
    assert stats.failures == {}
    assert stats.expires_at == client.token().expires_at
    assert repr(stats).startswith("Stats(hits=")


def test_b17_batch_keeps_order_and_mints_duplicates_once(layer, client):
    ids = [business(n) for n in (1, 2, 1, 3, 2)]
    layer.fault("auth_token", business_id=business(3), status=404, body={
        "errors": [{"type": "x", "description": "canary", "error_enum": "NOT_FOUND"}],
    })  # fmt: skip
    batch = client.business_tokens(ids, session_duration=60)
    results = list(batch)
    assert [result.business_id for result in results] == ids
    assert isinstance(results[3], ApiError)
    assert results[3].error_enum == "NOT_FOUND"
    assert results[0] == results[2]
    assert layer.count("auth_token") == 3
    progress = batch.progress
    assert (progress.total, progress.distinct, progress.done, progress.failed) == (5, 3, 3, 1)
    assert list(client.business_tokens([])) == []
    # An id that is not valid fails at its position.
    batch = client.business_tokens(["nonsense", business(1), "\ud800", business(2), "nonsense"])
    progress = batch.progress
    assert (progress.total, progress.distinct) == (5, 4)
    results = list(batch)
    assert [isinstance(result, InvalidArgumentError) for result in results] == [
        True, False, True, False, True,
    ]  # fmt: skip
    assert [result.business_id for result in results] == [
        "nonsense", business(1), "\N{REPLACEMENT CHARACTER}" * 3, business(2), "nonsense",
    ]  # fmt: skip
    assert results[0].field == "business_id"
    # The two different ids that are not valid count once each.
    assert (batch.progress.done, batch.progress.failed) == (4, 2)
    with pytest.raises(InvalidArgumentError) as caught:
        client.business_token("nonsense")
    assert caught.value.business_id is None


def test_closed_batch_sends_no_more_requests(layer, client):
    layer.fault("auth_token", hold=True, times="forever")
    batch = client.business_tokens([business(n) for n in range(100)], max_in_flight=2)
    assert layer.wait_for("auth_token", 2)
    batch.close()
    layer.release()
    assert len(list(batch)) <= 2
    assert layer.count("auth_token") == 2


def test_help_documents_every_public_member():
    text = pydoc.render_doc(Client, renderer=pydoc.plaintext)
    for word in (
        "client_secret_file=None", "token_async(self, timeout", "authorization(self",
        "from_env",
        ":param environment:", "Return a valid access token",
    ):  # fmt: skip
        assert word in text, word
    undocumented = [
        f"{cls.__name__}.{name}"
        for cls in (
            Client, layerfi_auth.AccessToken, BusinessToken, WhoAmI, layerfi_auth.Stats,
            layerfi_auth.BusinessTokens, Emulator,
        )
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") and not inspect.getdoc(member)
    ]  # fmt: skip
    assert undocumented == []


def test_package_has_its_version():
    assert layerfi_auth.__version__ == importlib.metadata.version("layerfi-auth")
    assert set(layerfi_auth.__all__) <= set(dir(layerfi_auth))
