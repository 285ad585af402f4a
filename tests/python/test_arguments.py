"""B18: every argument of every public call is checked before anything is sent.

A wrong type is a `TypeError`; a wrong value is an `InvalidArgumentError`, or for a setting a
`ConfigError`. Both name the parameter. Neither shows text that was passed: it may be a secret.
"""

# ruff: noqa: E501  # A row of a table is easier to read on one line.

from __future__ import annotations

import asyncio
import decimal
import fractions
import inspect
import pathlib
from datetime import timedelta
from uuid import UUID

import pytest

import layerfi_auth
from conftest import BUSINESS
from layerfi_auth import Client, ConfigError, InvalidArgumentError, WhoAmI
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET, Emulator

HUGE = 10**400
NAN, INF = float("nan"), float("inf")
CANARY = "canary-secret"
CANARY_BYTES = CANARY.encode()
SURROGATE = "\ud800"


class Unusable:
    """Every use of it fails."""

    def __float__(self):
        raise TypeError(CANARY)

    def __index__(self):
        raise TypeError(CANARY)

    def __fspath__(self):
        raise TypeError(CANARY)

    def __iter__(self):
        raise TypeError(CANARY)

    def __repr__(self):
        raise TypeError(CANARY)


def client(**options):
    return Client(
        **{"environment": "sandbox", "client_id": "a", "client_secret": "b", **options}
    )


def from_env(**options):
    return Client.from_env(
        **{"environment": "sandbox", "client_id": "a", "client_secret": "b", **options}
    )


SETTINGS = [
    *((name, value, TypeError, f"{name} must be a str, not {kind}")
      for name in ("environment", "client_id", "client_secret", "api_url", "auth_url", "scope",
                   "basic_encoding", "trust", "user_agent", "shared_cache", "shared_cache_key",
                   "shared_cache_prefix")
      for value, kind in ((CANARY_BYTES, "bytes"), (7, "int"), (True, "bool"), ([], "list"))),
    *((name, SURROGATE, ConfigError, f"{name} cannot be encoded as UTF-8")
      for name in ("client_id", "client_secret", "scope", "shared_cache", "shared_cache_key")),
    *((name, value, TypeError, f"{name} must be a str or an os.PathLike, not {kind}")
      for name in ("client_secret_file", "ca_file")
      for value, kind in ((CANARY_BYTES, "bytes"), (3, "int"), (Unusable(), "Unusable"))),
    ("ca_pem", 7, TypeError, "ca_pem must be a str or bytes, not int"),
    ("ca_pem", [1, 2], TypeError, "ca_pem must be a str or bytes, not list"),
    ("ca_pem", pathlib.Path("/x"), TypeError, "ca_pem must be a str or bytes, not PosixPath"),
    ("credentials", CANARY, TypeError, "credentials must be a callable, not str"),
    ("credentials", ("a", CANARY), TypeError, "credentials must be a callable, not tuple"),
    ("proxy", True, TypeError, "proxy must be a str or False, not bool"),
    ("proxy", 0, TypeError, "proxy must be a str, not int"),
    ("environment", "prod", ConfigError, "environment must be sandbox, production,"),
    ("trust", "Bundled", ConfigError, "trust must be system, bundled or ca_only"),
    ("basic_encoding", "base64", ConfigError, "basic_encoding must be one of raw, form"),
    *((name, value, TypeError, f"{name} must be a bool, not {kind}")
      for name in ("allow_http_loopback", "allow_opaque_business_ids", "keep_warm",
                   "shared_business_tokens")
      for value, kind in ((1, "int"), ("yes", "str"), ([], "list"))),
    *((name, value, TypeError, f"{name} must be a number of seconds, not {kind}")
      for name in ("timeout", "connect_timeout", "attempt_timeout")
      for value, kind in ((CANARY, "str"), (True, "bool"), (b"1", "bytes"), (1j, "complex"),
                          (timedelta(seconds=1), "timedelta"), (Unusable(), "Unusable"))),
    *((name, value, ConfigError, f"{name} must be 0.001 to 3600 s, got {shown}")
      for name in ("timeout", "connect_timeout", "attempt_timeout")
      for value, shown in ((-1, "-1"), (-0.5, "-0.5"), (NAN, "nan"), (INF, "inf"),
                           (2**64, "18446744073709551616"), (HUGE, "an int of 1329 bits"),
                           (1e300, "1e+300"), (0, "0"), (3601, "3601"))),
    *(("max_attempts", value, TypeError, f"max_attempts must be an int, not {kind}")
      for value, kind in ((True, "bool"), (1.0, "float"), ("1", "str"), (Unusable(), "Unusable"))),
    *(("max_attempts", value, ConfigError, f"max_attempts must be 1 to 100, got {shown}")
      for value, shown in ((0, "0"), (-1, "-1"), (101, "101"), (2**32 + 1, "4294967297"),
                           (HUGE, "an int of 1329 bits"), (-HUGE, "an int of 1329 bits"))),
    ("business_token_capacity", False, TypeError, "business_token_capacity must be an int, not"),
    *(("business_token_capacity", value, ConfigError, "business_token_capacity must be ")
      for value in (0, -1, 2**64, HUGE)),
]  # fmt: skip

TIMEOUTS = [
    *(("timeout", value, TypeError, f"timeout must be a number of seconds, not {kind}")
      for value, kind in ((CANARY, "str"), (True, "bool"), (CANARY_BYTES, "bytes"), ([], "list"),
                          (timedelta(seconds=1), "timedelta; use its total_seconds()"))),
    *(("timeout", value, InvalidArgumentError,
       f"timeout must be more than 0 and less than 2**64 seconds, got {shown}")
      for value, shown in ((0, "0"), (-1, "-1"), (-0.5, "-0.5"), (NAN, "nan"), (INF, "inf"),
                           (-INF, "-inf"), (2**64, "18446744073709551616"),
                           (HUGE, "an int of 1329 bits"), (10**5000, "an int of 16610 bits"))),
]  # fmt: skip

REFUSED = [
    ("refused", value, TypeError, f"refused must be an AccessToken, not {kind}")
    for value, kind in ((CANARY, "str"), (None, "None"), (5, "int"))
]

DURATIONS = [
    *(("session_duration", value, TypeError, f"session_duration must be an int, not {kind}")
      for value, kind in ((True, "bool"), (900.0, "float"), (CANARY, "str"),
                          (timedelta(hours=1), "timedelta"), (NAN, "float"))),
    *(("session_duration", value, InvalidArgumentError,
       f"session_duration must be 1 to 86400 seconds, got {shown}")
      for value, shown in ((0, "0"), (-1, "-1"), (86_401, "86401"), (2**63, str(2**63)),
                           (2**64, str(2**64)), (HUGE, "an int of 1329 bits"))),
]  # fmt: skip

MINIMUMS = [
    *(("min_remaining", value, TypeError, f"min_remaining must be a number of seconds, not {kind}")
      for value, kind in ((False, "bool"), (CANARY, "str"), (timedelta(1), "timedelta"))),
    *(("min_remaining", value, InvalidArgumentError,
       f"min_remaining must be 0 or more and less than 2**64 seconds, got {shown}")
      for value, shown in ((-1, "-1"), (NAN, "nan"), (INF, "inf"), (HUGE, "an int of"))),
]  # fmt: skip

IDS = [
    *(("business_id", value, TypeError, f"business_id must be a str or a uuid.UUID, not {kind}")
      for value, kind in ((17, "int"), (None, "None"), (CANARY_BYTES, "bytes"), (True, "bool"))),
    *(("business_id", value, InvalidArgumentError, "business_id")
      for value in ("", "..", "a/b", SURROGATE)),
]  # fmt: skip

BATCHES = [
    *(("business_ids", value, TypeError, f"business_ids must be an iterable of ids, not {kind}")
      for value, kind in ((5, "int"), (None, "None"), (BUSINESS, "str"), (b"x", "bytes"),
                          (Unusable(), "Unusable"))),
    ("business_ids", [BUSINESS, 17], TypeError,
     "business_ids[1] must be a str or a uuid.UUID, not int"),
    ("business_ids", bytearray(b"x"), TypeError, "business_ids[0] must be a str"),
    *(("max_in_flight", value, TypeError, f"max_in_flight must be an int, not {kind}")
      for value, kind in ((True, "bool"), (2.0, "float"), ("2", "str"))),
    *(("max_in_flight", value, InvalidArgumentError,
       f"max_in_flight must be 1 to 18446744073709551615, got {shown}")
      for value, shown in ((0, "0"), (-1, "-1"), (2**64, str(2**64)), (HUGE, "an int of"))),
]  # fmt: skip

REFUSED_TEXTS = [
    ("refused", None, TypeError, "refused must be a BusinessToken or a token's text, not None"),
    ("refused", CANARY_BYTES, TypeError, "or a token's text, not bytes"),
]

# Calls of a client, each with the arguments that make it valid.
CALLS = {
    "token": ({}, TIMEOUTS),
    "authorization": ({}, TIMEOUTS),
    "whoami": ({}, TIMEOUTS),
    # The timeout is checked first, so no token is needed for its rows.
    "renew_token": ({"refused": None}, REFUSED + TIMEOUTS),
    "business_token": ({"business_id": BUSINESS}, IDS + DURATIONS + MINIMUMS + TIMEOUTS),
    "renew_business_token": (
        {"business_id": BUSINESS, "refused": "x"},
        IDS + REFUSED_TEXTS + DURATIONS + TIMEOUTS,
    ),
    "mint_business_token": ({"business_id": BUSINESS}, IDS + DURATIONS + TIMEOUTS),
}

ENDPOINTS = [
    ("endpoint", 5, TypeError, "endpoint must be a str, not int"),
    ("endpoint", "tokens", InvalidArgumentError, "endpoint must be one of token, whoami"),
]

SECONDS = [
    ("seconds", "1", TypeError, "seconds must be a number of seconds, not str"),
    ("seconds", True, TypeError, "seconds must be a number of seconds, not bool"),
    ("seconds", NAN, InvalidArgumentError, "seconds must be"),
    ("seconds", HUGE, InvalidArgumentError, "got an int of 1329 bits"),
]

EMULATOR_CALLS = {
    "advance": ({}, SECONDS),
    "set_access_token_lifetime": ({}, [*SECONDS, ("seconds", -1, InvalidArgumentError, "got -1")]),
    "set_business_token_lifetime": ({}, SECONDS),
    "set_rate_limit": ({}, [
        ("per_second", True, TypeError, "per_second must be an int, not bool"),
        ("per_second", -1, InvalidArgumentError, "per_second must be 0 to 4294967295"),
        ("per_second", 2**32, InvalidArgumentError, "per_second must be 0 to 4294967295"),
    ]),
    "remove_fault": ({}, [
        ("number", "1", TypeError, "number must be an int, not str"),
        ("number", -1, InvalidArgumentError, "number must be 0 to"),
    ]),
    "revoke": ({}, [
        ("token", 5, TypeError, "token must be an AccessToken, a BusinessToken"),
        ("token", CANARY_BYTES, TypeError, "or a token's text, not bytes"),
    ]),
    "revoke_all": ({}, [
        ("kind", None, TypeError, "kind must be a str, not None"),
        ("kind", "all", InvalidArgumentError, "kind must be one of access, business"),
    ]),
    "rotate": ({"client_id": CLIENT_ID, "client_secret": "x"}, [
        ("client_id", 5, TypeError, "client_id must be a str, not int"),
        ("client_id", "who", InvalidArgumentError, "client_id is not one of the emulator's"),
        ("client_secret", CANARY_BYTES, TypeError, "client_secret must be a str, not bytes"),
        ("keep_old", 1, TypeError, "keep_old must be a bool, not int"),
    ]),
    "count": ({}, ENDPOINTS),
    "wait_for": ({"endpoint": "token", "requests": 0}, [
        *ENDPOINTS,
        ("requests", 1.5, TypeError, "requests must be an int, not float"),
        ("requests", -1, InvalidArgumentError, "requests must be 0 to"),
        ("timeout", "1", TypeError, "timeout must be a number of seconds, not str"),
        ("timeout", -1, InvalidArgumentError, "timeout must be 0 or more"),
    ]),
    "set_tls_trouble": ({}, [
        ("trouble", 5, TypeError, "trouble must be a str, not int"),
        ("trouble", "bad", InvalidArgumentError, "trouble must be one of expired"),
    ]),
    "set_proxy_credentials": ({}, [
        ("credentials", "u:p", TypeError, "credentials must be a pair of user name and password"),
    ]),
    "set_idle_timeout": ({}, [("seconds", -1, InvalidArgumentError, "seconds must be 0 or")]),
    "connections": ({"action": "close"}, [
        ("action", "open", InvalidArgumentError, "action must be one of close, reset"),
        ("connection", -1, InvalidArgumentError, "connection must be 0 to"),
        ("only_idle", 1, TypeError, "only_idle must be a bool, not int"),
    ]),
    "fingerprint": ({}, [("token", CANARY_BYTES, TypeError, "token must be a str, not bytes")]),
    "log": ({}, [
        ("after", "1", TypeError, "after must be an int, not str"),
        ("after", -1, InvalidArgumentError, "after must be 0 to"),
    ]),
    "fault": ({}, [
        ("endpoint", 5, TypeError, "endpoint must be a str, not int"),
        ("endpoint", "tokens", InvalidArgumentError, "the fault is not valid: unknown variant"),
        ("fault", 5, TypeError, "fault must be a mapping of field names to values, not int"),
        ("fault", {5: 5}, TypeError, "fault must be a mapping of field names"),
        ("body", b"x", TypeError, "body must be a value that JSON can hold"),
        ("delay_ms", NAN, TypeError, "delay_ms must be a value that JSON can hold"),
        ("delay_ms", -1, InvalidArgumentError, "the fault is not valid"),
        ("statsu", 503, InvalidArgumentError, "unknown field `statsu`"),
    ]),
}  # fmt: skip

EMULATOR_SETTINGS = [
    ("authority_file", 5, TypeError, "authority_file must be a"),
    ("demo_data", 1, TypeError, "demo_data must be a bool, not int"),
    ("console", "no", TypeError, "console must be a bool, not str"),
    ("proxy", 1, TypeError, "proxy must be a bool, not int"),
    ("proxy_port", -1, ConfigError, "proxy_port must be 0 to 65535, got -1"),
    ("proxy_credentials", "u:p", TypeError, "proxy_credentials must be a pair of user name and"),
    ("names", "a.example", TypeError, "names must be an iterable of host names, not str"),
    ("names", [5], TypeError, "names[0] must be a str, not int"),
    ("idle_timeout", -1, ConfigError, "idle_timeout must be 0 or more"),
    ("requests_per_connection", True, TypeError, "requests_per_connection must be an int, not"),
    ("requests_per_connection", 0, ConfigError, "requests_per_connection must be 1 to"),
    ("tls_trouble", "bad", ConfigError, "tls_trouble must be one of expired"),
    ("tls_versions", 1.2, TypeError, "tls_versions must be a str, not float"),
    ("http_versions", "3", ConfigError, "http_versions must be one of 1.1, 2, 1.1-2"),
    ("environment", 5, TypeError, "environment must be a str, not int"),
    ("environment", "staging", ConfigError, "environment must be sandbox, production or"),
    ("clients", 5, TypeError, "clients must be an iterable of pairs of client id and secret, not"),
    ("clients", ["ab"], TypeError, "clients must be an iterable of pairs"),
    ("clients", [("a", 5)], TypeError, "clients must be an iterable of pairs"),
    ("clients", [("", "x")], ConfigError, "client id must not be empty"),
    ("unauthorized_clients", "ab", TypeError, "unauthorized_clients must be an iterable of"),
    ("businesses", BUSINESS, TypeError, "businesses must be an iterable of business ids, not str"),
    ("businesses", [5], TypeError, "businesses[0] must be a str or a uuid.UUID, not int"),
    ("businesses", ["x"], ConfigError, "business must be a UUID"),
    ("basic_decoding", "base64", ConfigError, "basic_decoding must be one of raw, form"),
    ("invalid_client_status", "400", TypeError, "invalid_client_status must be an int, not str"),
    ("invalid_client_status", 500, ConfigError, "invalid_client_status must be 400 to 401"),
    ("access_token_lifetime", "1", TypeError, "access_token_lifetime must be a number of seconds"),
    ("access_token_lifetime", -1, ConfigError, "access_token_lifetime must be 0 or more"),
    ("business_token_lifetime", INF, ConfigError, "business_token_lifetime must be 0 or more"),
    ("rate_limit", "1", TypeError, "rate_limit must be an int, not str"),
    ("rate_limit", -1, ConfigError, "rate_limit must be 0 to 4294967295 requests per second"),
    ("tls", 1, TypeError, "tls must be a bool, not int"),
    ("port", "80", TypeError, "port must be an int, not str"),
    ("port", True, TypeError, "port must be an int, not bool"),
    ("port", 65_536, ConfigError, "port must be 0 to 65535, got 65536"),
    ("control_port", -1, ConfigError, "control_port must be 0 to 65535, got -1"),
]  # fmt: skip


def rows():
    def case(target, call, row):
        argument, value, kind, text = row
        shown = (
            "huge" if isinstance(value, int) and abs(value) > 2**70 else type(value).__name__
        )
        return pytest.param(
            call, argument, value, kind, text, id=f"{target}-{argument}-{shown}"
        )

    def of_client(name, arguments, asynchronous):
        def call(layer, **changed):
            result = getattr(layer.client(), name)(**{**arguments, **changed})
            return asyncio.run(result) if asynchronous else result

        return call

    def of_emulator(name, arguments):
        return lambda layer, **changed: getattr(layer, name)(**{**arguments, **changed})

    for row in SETTINGS:
        yield case("Client", lambda _, **options: client(**options), row)
        yield case("from_env", lambda _, **options: from_env(**options), row)
    for name, (arguments, table) in CALLS.items():
        for row in table:
            yield case(name, of_client(name, arguments, asynchronous=False), row)
            asynchronous = of_client(f"{name}_async", arguments, asynchronous=True)
            yield case(f"{name}_async", asynchronous, row)
    for row in BATCHES + DURATIONS:
        call = of_client("business_tokens", {"business_ids": [BUSINESS]}, asynchronous=False)
        yield case("business_tokens", call, row)
    for name, (arguments, table) in EMULATOR_CALLS.items():
        for row in table:
            yield case(f"Emulator.{name}", of_emulator(name, arguments), row)
    for row in EMULATOR_SETTINGS:
        yield case("Emulator", lambda _, **options: Emulator(**options), row)
    for name, other in (("client_name", "client_id"), ("client_id", "client_name")):

        def who(_, other=other, **changed):
            return WhoAmI(**{other: "x", **changed})

        for value, kind in ((5, "int"), (b"x", "bytes"), (None, "None")):
            row = (name, value, TypeError, f"{name} must be a str, not {kind}")
            yield case("WhoAmI", who, row)

    def invalidate(layer, **arguments):
        return layer.client().invalidate(**arguments)

    def props(layer, **arguments):
        return layer.client().business_token(BUSINESS).layer_provider_props(**arguments)

    for value in (5, CANARY_BYTES, None, []):
        text = "token must be an AccessToken, a BusinessToken, or a token's text or header, not"
        yield case("invalidate", invalidate, ("token", value, TypeError, text))
    row = ("environment", 5, TypeError, "environment must be a str, not int")
    yield case("layer_provider_props", props, row)


@pytest.mark.parametrize(("call", "argument", "value", "kind", "text"), list(rows()))
def test_b18_wrong_argument_is_refused_by_name(shared_layer, call, argument, value, kind, text):
    with pytest.raises((TypeError, ValueError, OverflowError)) as caught:
        call(shared_layer, **{argument: value})
    error = caught.value
    assert type(error) is kind, f"expected {kind.__name__}, got {error!r}"
    assert text in str(error)
    assert argument in str(error) or kind is not TypeError
    assert CANARY not in str(error), "the text shows the value"
    assert "Base" not in str(error), "the text names a private class"
    if kind is not TypeError:
        field = {"statsu": "fault", "delay_ms": "fault"}.get(argument, argument)
        assert error.field == ("fault" if "the fault" in text else field)


@pytest.fixture(scope="module")
def shared_layer():
    with Emulator(rate_limit=None) as emulator:
        yield emulator


def test_b18_nothing_was_sent_for_a_wrong_argument(layer):
    made = layer.client()
    for name, (arguments, table) in CALLS.items():
        for argument, value, kind, _ in table:
            for suffix in ("", "_async"):
                call = getattr(made, name + suffix)
                changed = {**arguments, argument: value}
                with pytest.raises(kind):
                    asyncio.run(call(**changed)) if suffix else call(**changed)
    assert layer.log() == [], "a call with a wrong argument sent a request"


def test_b18_every_public_parameter_is_in_the_table():
    """A new parameter needs rows too."""
    tested = {
        "Client": {row[0] for row in SETTINGS},
        "business_tokens": {row[0] for row in BATCHES + DURATIONS},
        "invalidate": {"token"},
        "from_env": {"options"},
        "Emulator": {row[0] for row in EMULATOR_SETTINGS},
        **{name: {row[0] for row in table} for name, (_, table) in CALLS.items()},
        **{f"{name}_async": {row[0] for row in table} for name, (_, table) in CALLS.items()},
    }
    assert set(inspect.signature(Client).parameters) == tested["Client"]
    assert set(inspect.signature(Emulator).parameters) == tested["Emulator"]
    for name, member in inspect.getmembers(Client, callable):
        if name.startswith("_"):
            continue
        parameters = set(inspect.signature(member).parameters) - {"self"}
        assert parameters == tested.get(name, set()), name
    for name, member in inspect.getmembers(Emulator, callable):
        if name.startswith("_") or name in {"client"}:
            continue
        parameters = set(inspect.signature(member).parameters) - {"self", "fields"}
        rows = EMULATOR_CALLS.get(name, ({}, []))[1]
        assert parameters <= {row[0] for row in rows}, name


class Text(str):
    __slots__ = ()


class Index:
    def __index__(self):
        return 900


def test_b18_values_that_only_look_unusual_are_accepted(layer, tmp_path):
    file = tmp_path / "secret"
    file.write_text(CLIENT_SECRET)
    for path in (file, str(file), Text(file)):
        made = layer.client(client_secret_file=path, client_id=Text(CLIENT_ID))
        assert made.token(timeout=10)
    made = layer.client(
        timeout=decimal.Decimal("1.5"), connect_timeout=fractions.Fraction(1, 2), attempt_timeout=1,
        max_attempts=Index().__index__() // 900, ca_pem=bytearray(), scope=Text(layer.scope),
    )  # fmt: skip
    assert made.business_token(Text(BUSINESS), session_duration=Index()).session_duration == 900
    assert made.business_token(UUID(BUSINESS), min_remaining=0, timeout=1e9)
    assert made.token(timeout=0.5) == asyncio.run(made.token_async(timeout=None))
    assert made.invalidate(Text(made.authorization()))
    assert len(list(made.business_tokens(iter([BUSINESS]), max_in_flight=2**64 - 1))) == 1
    assert len(list(made.business_tokens({BUSINESS: 1}))) == 1


def test_b18_an_exception_of_the_callers_own_object_is_not_replaced(client):
    def ids():
        yield BUSINESS
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        client.business_tokens(ids())

    class Path:
        def __fspath__(self):
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        Client(environment="sandbox", client_id="a", client_secret_file=Path())


def test_b18_unknown_arguments_name_the_public_class(client, layer):
    for call, text in (
        (lambda: Client(enviroment="sandbox"), r'Client\(\) got an unexpected keyword argument'),
        (lambda: Client("sandbox"), "Client"),
        (lambda: client.token(5), r"Client\.token\(\) takes"),
        (lambda: client.token(timout=5), r"Client\.token\(\) got an unexpected keyword argument"),
        (lambda: client.business_token(), r"Client\.business_token\(\) missing 1 required"),
        (lambda: Emulator(prot=1), r'Emulator\(\) got an unexpected keyword argument'),
        (lambda: layer.count(), r"Emulator\.count\(\) missing 1 required"),
        (lambda: WhoAmI(), r"WhoAmI\.__new__\(\) missing 2 required"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=text) as caught:
            call()
        assert "Base" not in str(caught.value)
    for cls in (Client, Emulator):
        assert not any(one.__name__.endswith("Base") for one in cls.__mro__)
    assert layerfi_auth.Client.__name__ == "Client"


HELPERS = [
    ("client", "text", TypeError, "client must be a layerfi_auth.Client, not str"),
    ("client", None, TypeError, "client must be a layerfi_auth.Client, not NoneType"),
    ("origins", "https://a.example", TypeError, "origins must be an iterable of URLs, not str"),
    ("origins", 5, TypeError, "origins must be an iterable of URLs, not int"),
    ("origins", [5], TypeError, "origins[0] must be a str, not int"),
    ("origins", ["https://a.example", "b.example"], ConfigError, "origins[1] is not a URL"),
    ("origins", ["https://a.example:port"], ConfigError, "origins[0] is not a URL"),
    ("origins", ["https://[::1"], ConfigError, "origins[0] is not a URL"),
]


@pytest.mark.parametrize(
    "helper", ["HttpxAuth", "Httpx2Auth", "RequestsAuth", "aiohttp_middleware"]
)
@pytest.mark.parametrize(("argument", "value", "kind", "text"), HELPERS)
def test_b18_wrong_argument_of_an_http_helper_is_refused(
    client, helper, argument, value, kind, text
):
    library = {
        "HttpxAuth": "httpx",
        "Httpx2Auth": "httpx2",
        "RequestsAuth": "requests",
        "aiohttp_middleware": "aiohttp",
    }
    pytest.importorskip(library[helper])
    from layerfi_auth import auth

    arguments = {"client": client, "origins": ["https://a.example/x"]}
    make = getattr(auth, helper)
    assert make(arguments["client"], origins=arguments["origins"])
    arguments[argument] = value
    with pytest.raises((TypeError, ValueError)) as caught:
        make(arguments["client"], origins=arguments["origins"])
    assert type(caught.value) is kind
    assert text in str(caught.value)
