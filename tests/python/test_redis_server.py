"""The tests' own Redis and Valkey servers."""

from __future__ import annotations

import pytest
import valkey

from redis_server import RedisServer, ServerError


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_server_is_its_own_process_and_ends(tmp_path, kind):
    with RedisServer(tmp_path / "store", kind, password="not-a-secret-5") as server:
        client = server.client()
        assert client.info("server")["process_id"] == server.pid
        client.set("key", "value")
        server.pause()
        with pytest.raises(valkey.exceptions.TimeoutError):
            server.client(timeout=0.1).ping()
        server.resume()
        assert server.client().get("key") == b"value"
        first = server.run_id
        server.restart()
        assert server.run_id != first
        assert server.is_mine()
        assert server.client().get("key") is None
        with pytest.raises(valkey.exceptions.AuthenticationError):
            valkey.Valkey(port=server.port).ping()
    with pytest.raises(valkey.exceptions.ConnectionError):
        server.client().ping()


def test_server_refuses_a_taken_port_and_a_used_folder(tmp_path):
    with RedisServer(tmp_path / "one") as one:
        with pytest.raises(ServerError, match=f"port {one.port} is taken"):
            RedisServer(tmp_path / "two", port=one.port)
        with pytest.raises(ServerError, match="not empty"):
            RedisServer(tmp_path / "one")
        assert one.is_mine()
