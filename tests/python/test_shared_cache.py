"""The shared cache in Python, with real Redis and Valkey servers: settings, counters, logs."""

from __future__ import annotations

import itertools
import json
import logging
import re
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import ROOT, TIMEOUT, eventually
from layerfi_auth import Client, ConfigError
from redis_server import RedisServer

PASSWORD = "not-a-secret-8f7a"
KEY = "not-a-key-35c1"
BUSINESS = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
OFF = {
    "shared_adopted": 0, "shared_published": 0, "shared_waits": 0, "shared_alone": 0,
    "shared_rejected": 0, "shared_faults": 0, "shared_cache": "off",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis") / "store"
    with RedisServer(folder, password=PASSWORD) as server:
        yield server


@pytest.fixture
def store(server):
    """An empty store, which a test may not stop."""
    server.flush()
    return server


@pytest.fixture
def records():
    """The engine's records from DEBUG on. `eventually` waits for one."""
    logger = logging.getLogger("layerfi_auth")
    found: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(record)

    handler, level = Handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def shared(client):
    """The counters of the shared cache."""
    return {name: value for name, value in client.stats().to_dict().items() if name in OFF}


def record_of(records, message):
    """The only record that contains a text, once it is there."""
    eventually(lambda: [one for one in records if message in one.getMessage()])
    found = [one for one in records if message in one.getMessage()]
    assert len(found) == 1, f"{len(found)} records say {message!r}"
    return found[0]


def test_b30_clients_share_tokens_and_count_it(layer, store):
    assert shared(layer.client()) == OFF
    first = layer.client(shared_cache=store.url)
    assert shared(first) == {**OFF, "shared_cache": "up"}
    token, business = first.token(), first.business_token(BUSINESS)
    assert shared(first) == {**OFF, "shared_cache": "up", "shared_published": 2}

    second = layer.client(shared_cache=store.url)
    assert second.token() == token
    assert second.business_token(BUSINESS) == business
    assert shared(second) == {**OFF, "shared_cache": "up", "shared_adopted": 2}
    assert (layer.count("token"), layer.count("auth_token")) == (1, 1)
    assert second.stats().shared_adopted == 2
    assert second.stats().shared_cache == "up"
    assert "shared" not in repr(layer.client().stats())
    shown = repr(second.stats())
    assert "shared_adopted=2, shared_published=0, shared_waits=0, shared_alone=0" in shown
    assert "shared_rejected=0, shared_faults=0, shared_cache='up'" in shown


@pytest.mark.parametrize(
    "other",
    [{"shared_cache_key": KEY}, {"shared_cache_prefix": "other"}, {"basic_encoding": "form"}],
    ids=lambda options: next(iter(options)),
)
def test_b30_clients_with_other_settings_share_no_token(layer, store, other):
    one = layer.client(shared_cache=store.url)
    another = layer.client(shared_cache=store.url, **other)
    assert one.token() != another.token()
    assert layer.count("token") == 2
    assert shared(another) == {**OFF, "shared_cache": "up", "shared_published": 1}
    names = {name.decode() for name in store.client().keys("*")}
    prefixes = {name.split("{")[0] for name in names}
    prefix = other.get("shared_cache_prefix", "layerfi")
    assert prefixes == {"layerfi:1:", f"{prefix}:1:"}


def test_b30_business_tokens_are_shared_unless_turned_off(layer, store):
    one = layer.client(shared_cache=store.url, shared_business_tokens=False)
    another = layer.client(shared_cache=store.url, shared_business_tokens=False)
    assert one.business_token(BUSINESS) != another.business_token(BUSINESS)
    assert (layer.count("token"), layer.count("auth_token")) == (1, 2)


def test_b30_from_env_reads_url_and_key(layer, store, monkeypatch):
    for name, value in layer.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAYER_SHARED_CACHE", store.url)
    monkeypatch.setenv("LAYER_SHARED_CACHE_KEY", KEY)
    token = Client.from_env(proxy=False).token()
    assert layer.client(shared_cache=store.url, shared_cache_key=KEY).token() == token
    assert layer.client(shared_cache=store.url).token() != token
    monkeypatch.setenv("LAYER_SHARED_CACHE", f"http://:{PASSWORD}@cache")
    with pytest.raises(ConfigError, match="set LAYER_SHARED_CACHE to redis://") as caught:
        Client.from_env()
    assert caught.value.field == "shared_cache"
    assert PASSWORD not in str(caught.value)


def test_b30_no_call_fails_when_the_store_goes_away_and_comes_back(layer, tmp_path, records):
    with RedisServer(tmp_path / "store") as server:
        client = layer.client(shared_cache=server.url)
        server.kill()
        assert client.token()
        counted = shared(client)
        assert counted.pop("shared_faults") > 0
        assert counted == {
            **dict.fromkeys(counted, 0), "shared_alone": 1, "shared_cache": "down",
        }  # fmt: skip
        record = record_of(records, "the shared cache is down")
        assert (record.levelname, record.server) == ("WARNING", f"127.0.0.1:{server.port}")
        assert record.kind == "connect"
        server.start()

        durations = itertools.count(60)

        def is_up():
            # Another token each time, because a cached one does not use the store.
            assert client.business_token(BUSINESS, session_duration=next(durations))
            return client.stats().shared_cache == "up"

        eventually(is_up)
        record = record_of(records, "the shared cache is back")
        assert (record.levelname, record.server) == ("INFO", f"127.0.0.1:{server.port}")


def test_b30_adoption_publication_and_waiting_are_logged_with_fields(layer, store, records):
    token = layer.client(shared_cache=store.url).token()
    record = record_of(records, "stored a token in the shared cache")
    assert (record.levelname, record.token, record.expires_in) == ("DEBUG", "access", 3600)

    # As if another process had the lease, for longer than this machine is ever slow.
    redis = store.client()
    (name,) = redis.keys("*:v")
    entry = redis.get(name)
    redis.delete(name)
    lease = name.removesuffix(b"v") + b"l"

    def has_waited():
        redis.set(lease, "another-process", px=3000)
        return second.stats().shared_waits == 1

    second = layer.client(shared_cache=store.url, timeout=TIMEOUT, attempt_timeout=TIMEOUT)
    with ThreadPoolExecutor(1) as pool:
        redis.set(lease, "another-process", px=3000)
        waiting = pool.submit(second.token)
        eventually(has_waited)
        redis.set(name, entry)
        assert waiting.result(TIMEOUT) == token
    assert layer.count("token") == 1
    assert shared(second) == {
        **OFF, "shared_cache": "up", "shared_adopted": 1, "shared_waits": 1,
    }  # fmt: skip
    record = record_of(records, "another process gets the token")
    assert (record.levelname, record.token) == ("DEBUG", "access")
    record = record_of(records, "got a token from the shared cache")
    assert (record.levelname, record.token) == ("DEBUG", "access")
    assert 0 <= record.age < record.expires_in <= 3600


def test_b30_entries_that_are_not_accepted_are_counted_and_logged_once(layer, store, records):
    layer.client(shared_cache=store.url).token()
    (name,) = store.client().keys("*:v")
    sealed = store.client().get(name)
    store.client().set(name, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    second = layer.client(shared_cache=store.url)
    assert second.token()
    assert layer.count("token") == 2, "an altered entry was adopted"
    assert second.stats().shared_rejected >= 1
    record = record_of(records, "an entry of the shared cache was not accepted")
    assert record.levelname == "WARNING"
    assert record.reason == "it was altered, or sealed with another key"


def test_b20_b30_url_and_key_are_shown_nowhere(layer, store, records):
    client = layer.client(shared_cache=store.url, shared_cache_key=KEY)
    client.token()
    shown = [repr(client), repr(client.stats()), json.dumps(client.stats().to_dict())]
    wrong = f"redis://:{PASSWORD}-wrong@127.0.0.1:{store.port}"
    broken = layer.client(shared_cache=wrong, shared_cache_key=KEY)
    assert broken.token()
    assert broken.stats().shared_cache == "down"
    assert record_of(records, "the shared cache is down").kind == "auth"
    shown.append(repr(broken))
    for options in (
        {"shared_cache": f"redis://user:{PASSWORD}@host:port"},
        {"shared_cache": f"redis://user:{PASSWORD}/x@host"},
        {"shared_cache": [PASSWORD]},
        {"shared_cache": PASSWORD.encode()},
        {"shared_cache": store.url, "shared_cache_key": KEY.encode()},
        {"shared_cache": f"http://{PASSWORD}", "shared_cache_key": KEY},
    ):
        with pytest.raises((ConfigError, TypeError)) as caught:
            layer.client(**options)
        error = caught.value
        shown.append(f"{error} {error!r} {getattr(error, 'to_dict', dict)()}")
        shown.append("".join(traceback.format_exception_only(error)))
    shown += [f"{one.getMessage()} {vars(one)}" for one in records]
    for text in shown:
        assert PASSWORD not in text
        assert KEY not in text


def test_b30_code_of_the_guide_runs(layer, store, tmp_path):
    page = (ROOT / "docs/fleets.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert json.loads(blocks["json"])["containerDefinitions"]
    # The secret's path and the store's URL are examples; the store here has no TLS.
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    code = blocks["python"].replace("/run/secrets/layer", str(secret))
    made: dict[str, Client] = {"Client": Client}
    exec(code, made)
    assert made["client"].stats().shared_cache == "up"
    assert layer.count("token") == 0
    assert store.client().dbsize() == 0
