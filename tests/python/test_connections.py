"""Connections of many clients and of many calls in one process."""

from __future__ import annotations

import pytest

from conftest import BUSINESS, run_python

CLIENTS = """
import resource

from layerfi_auth import Client

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
clients = []
for number in range(1500):
    client = Client.from_env(user_agent=USER_AGENT)
    client.business_token("BUSINESS")
    clients.append(client)
print(len(clients))
"""


@pytest.mark.parametrize("user_agent", ['"program/1"', 'f"program/{number}"'])
def test_b26_1500_clients_need_few_descriptors(layer, user_agent):
    program = CLIENTS.replace("USER_AGENT", user_agent).replace("BUSINESS", BUSINESS)
    assert run_python(program, layer, timeout=180) == "1500\n"
    assert layer.counters()["endpoints"]["token"]["total"] == 1500


CALLS = """
import asyncio, resource

from layerfi_auth import Client

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
client = Client.from_env(timeout=180)

async def main():
    return await asyncio.gather(*(client.whoami_async() for _ in range(1500)))

print(len(asyncio.run(main())))
"""


def test_b26_1500_calls_at_once_need_few_descriptors(layer):
    layer.set_rate_limit(None)
    layer.fault("whoami", delay_ms=100, times="forever")
    assert run_python(CALLS, layer, timeout=240) == "1500\n"
    assert layer.count("whoami") == 1500
