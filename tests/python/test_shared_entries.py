"""B30: what the owner of the store, or a listener on its wire, can read and do."""

from __future__ import annotations

import base64
import contextlib
import logging
import random
import socket
import sys
import threading
import time

import pytest

from conftest import BUSINESS, TIMEOUT, eventually
from layerfi_auth.testing import CLIENT_ID, Emulator
from redis_server import RedisServer
from test_process_secrets import (
    FOR_BROWSER,
    NEEDLES,
    PROGRAM,
    SECRET,
    TOKEN,
    Program,
    environment,
    parts,
    scan,
    serve_known_tokens,
)

PASSWORD = "canary-Wq8Nd3YtR6Ks1Lv9Pb5Xc2"


@pytest.fixture(params=["redis", "valkey"])
def store(request, tmp_path):
    with RedisServer(tmp_path / "store", request.param, password=PASSWORD) as server:
        yield server


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


class Wire:
    """Forwards connections to a server, and keeps all bytes of both directions."""

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._bytes = {"to": bytearray(), "from": bytearray()}
        self._sockets = [self._listener]
        self._run(self._accept)

    def _run(self, function, *arguments):
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                self._run(self._forward, near, far, "to")
                self._run(self._forward, far, near, "from")

    def _forward(self, source, target, direction):
        with contextlib.suppress(OSError):
            while some := source.recv(65536):
                self._bytes[direction] += some
                target.sendall(some)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __getitem__(self, direction):
        return bytes(self._bytes[direction])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self._sockets:
            one.close()


class Monitor:
    """What the command MONITOR shows."""

    def __init__(self, server):
        self._socket = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
        self._socket.sendall(f"AUTH {PASSWORD}\r\nMONITOR\r\n".encode())
        self.text = b""
        threading.Thread(target=self._read, daemon=True).start()
        eventually(lambda: self.text.count(b"+OK") >= 2)

    def _read(self):
        with contextlib.suppress(OSError):
            self._socket.settimeout(None)
            while some := self._socket.recv(65536):
                self.text += some

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def found_in(text, needles):
    return sorted({what for what, forms in needles.items() for form in forms if form in text})


def test_b30_store_and_its_wire_show_no_id_secret_or_token(tmp_path, secret_file, store):
    ids = {"client id": [CLIENT_ID.encode()], "business id": [BUSINESS.encode()]}
    unseen = {**NEEDLES, **ids}
    password = {"password": parts(PASSWORD)}
    with (
        Emulator(clients=[(CLIENT_ID, SECRET)], rate_limit=None) as layer,
        Wire(store.port) as wire,
    ):
        serve_known_tokens(layer)
        monitor = Monitor(store)
        url = f"redis://:{PASSWORD}@127.0.0.1:{wire.port}"
        env = {**environment(layer, secret_file, tmp_path), "LAYER_SHARED_CACHE": url}
        for how in (False, True):
            code = f"BUSINESS, ASYNC = {BUSINESS!r}, {how}\n{PROGRAM}"
            with Program([sys.executable, "-c", code], env) as program:
                program.wait_for("working")
                # The scan finds in the program what it must not find in the store.
                assert {what for what, *_ in scan(program.pid, unseen)} >= unseen.keys() - {
                    "client secret",
                    "Basic header",
                }
        # The second program adopted both tokens.
        assert layer.count("token") == 1
        assert store.client().dbsize() == 2, "one value for each token"
        eventually(lambda: monitor.text.lower().count(b'"eval"') >= 6)
        assert found_in(monitor.text, {**unseen, **password}) == []
        assert len(wire["from"]) > len(TOKEN) + len(FOR_BROWSER)
        assert found_in(wire["from"], {**unseen, **password}) == []
        # AUTH is on the wire in clear text, which shows that the recorder works.
        assert found_in(wire["to"], {**unseen, **password}) == ["password"]
        found = scan(store.pid, unseen)
        assert found == [], f"the memory of the server has {found}"
        # The scan finds what the server knows.
        assert scan(store.pid, {"prefix": [b"layerfi:1:"]}) != []
        monitor.close()


class Records(logging.Handler):
    def __init__(self):
        super().__init__(logging.DEBUG)
        self.texts = []

    def emit(self, record):
        self.texts.append(f"{record.getMessage()} {record.__dict__}")


@pytest.fixture
def records():
    logger = logging.getLogger("layerfi_auth")
    handler, level = Records(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def forms_of(entry):
    """Forms in which a log could show a part of an entry."""
    for start in range(2, len(entry) - 12, 12):
        part = entry[start : start + 12]
        yield part.hex()
        yield base64.b64encode(part).decode()
        yield str(list(part))[1:-1]


class Store:
    """The entries of one store, changed as its owner could."""

    def __init__(self, server):
        self.client = server.client()

    def value(self, marker=b":v"):
        (key,) = [key for key in self.client.keys("*") if key.endswith(marker)]
        return key, self.client.get(key)

    def only(self, key, value):
        """Remove all entries, and store this one."""
        self.client.flushall()
        self.client.set(key, value)


def altered(entry, dice):
    """The entry with one byte altered: each of the header, and others at random."""
    header = list(range(45))
    others = dice.sample(range(len(header), len(entry)), 255)
    for at in header + others:
        changed = bytearray(entry)
        changed[at] ^= 1 << dice.randrange(8)
        yield f"byte {at} altered", bytes(changed)


def cut_or_extended(entry, dice):
    for length in [0, 1, 2, 3, 17, 18, 30, 31, 42, 43, 44, 58, 59, len(entry) - 1]:
        yield f"cut to {length} bytes", entry[:length]
    for length in dice.sample(range(60, len(entry) - 1), 67):
        yield f"cut to {length} bytes", entry[:length]
    for more in (1, 16, 100, 20_000):
        yield f"{more} bytes longer", entry + bytes(more)
    for at in dice.sample(range(1, len(entry)), 16):
        yield f"without its first {at} bytes", entry[at:]


def test_b30_altered_cut_moved_and_replayed_entries_are_refused(tmp_path, records):
    dice = random.Random(500)
    with RedisServer(tmp_path / "store") as server, Emulator(rate_limit=None) as layer:
        store = Store(server)

        def entry_of(get=lambda client: client.token(), **settings):
            """Fill the store with one entry, and return its key and value."""
            store.client.flushall()
            get(layer.client(shared_cache=server.url, **settings))
            return store.value()

        def entries_of_others():
            body = {
                "access_token": "{{token}}",
                "expires_in": 3600,
                "token_type": "Bearer",
            }
            layer.fault("token", body=body, times="forever")
            for number in range(20):
                yield "of another secret", entry_of(client_secret=f"other-secret-{number}")[1]
                yield "of another scope", entry_of(scope=f"https://example.com/{number}")[1]
                yield "of another key", entry_of(shared_cache_key=f"other-key-{number}")[1]
            layer.clear_faults()

            def business(client):
                client.token()
                store.client.flushall()
                client.business_token(BUSINESS)

            yield "of a business", entry_of(business)[1]

        key, entry = entry_of()
        # Unaltered, it is adopted: also after it was removed and put back.
        store.only(key, entry)
        adopting = layer.client(shared_cache=server.url)
        text = adopting.token().secret
        assert adopting.stats().shared_adopted == 1
        assert layer.count("token") == 1

        attempts = [
            *altered(entry, dice),
            *cut_or_extended(entry, dice),
            *entries_of_others(),
        ]
        for what, changed in attempts:
            # Again, if a busy server did not answer within the 0.5 s that it has.
            for _ in range(10):
                store.only(key, changed)
                requests = layer.count("token")
                client = layer.client(shared_cache=server.url)
                assert client.token().secret != text, f"{what}: the entry was accepted"
                assert layer.count("token") == requests + 1, what
                if client.stats().shared_faults == 0:
                    break
            assert client.stats().shared_faults == 0, what
            # The store takes one without any byte of a mark for none at all.
            assert client.stats().shared_rejected == int(len(changed) > 2), what
            # What replaced it is good.
            assert layer.client(shared_cache=server.url).token() == client.token(), what

        replayed = 500 - len(attempts)
        assert replayed >= 30
        layer.set_access_token_lifetime(3.0)
        old = [entry_of()[1] for _ in range(replayed)]
        time.sleep(3.0)
        layer.set_access_token_lifetime(3600.0)
        for number, dead in enumerate(old):
            store.only(key, dead)
            client = layer.client(shared_cache=server.url)
            assert client.token().remaining > 3000, f"dead entry {number} was accepted"
            assert client.stats().shared_adopted == 0

        logged = "\n".join(records.texts)
        assert "was not accepted" in logged
        assert text not in logged
        tag = key.decode().split("{")[1].split("}")[0]
        shown = [form for form in [tag, *forms_of(entry)] if form in logged]
        assert shown == [], "the log shows a part of an entry"
