"""examples/celery: one token request for all tasks of all processes of the pool."""

from __future__ import annotations

import re

import pytest

from conftest import command, eventually
from layerfi_auth.testing import CLIENT_SECRET

PROCESSES = 4
WORKER = command("celery", "celery -A tasks worker").removesuffix(" &")
SEND = command("celery", "python send.py").split()[:4]


@pytest.fixture
def env(tmp_path):
    return {
        "BROKER_URL": "filesystem://",
        "QUEUE": str(tmp_path / "queue"),
        "C_FORCE_ROOT": "1",  # Celery warns about root, and CI is root.
    }


def business(number):
    return f"00000000-0000-4000-8000-{number:012x}"


def send(run_example, env, count):
    sender = run_example("celery", [*SEND, *map(business, range(count))], env)
    assert sender.wait() == 0, sender.output()
    assert f"{count} tasks sent" in sender.output()


def read(worker):
    """Return the processes and the businesses of the worker's log."""
    line = r"ForkPoolWorker-(\d+)\].* business (\S+): profit"
    found = re.findall(line, worker.output())
    return {process for process, _ in found}, [business for _, business in found]


def test_b13_celery_pool_sends_one_token_request_for_all_tasks(layer, run_example, env):
    worker = run_example("celery", WORKER, env)
    # Each process of the pool has a task at the same time.
    layer.fault("business_data", hold=True, times="forever")
    send(run_example, env, 24)
    in_flight = lambda: layer.counters()["endpoints"]["business_data"]["in_flight"]  # noqa: E731
    eventually(lambda: in_flight() == PROCESSES, worker.output)
    layer.clear_faults()
    layer.release()
    eventually(lambda: len(read(worker)[1]) == 24, worker.output)
    processes, businesses = read(worker)
    assert len(processes) == PROCESSES
    assert sorted(businesses) == [business(number) for number in range(24)]
    assert layer.count("token") == 1, f"{layer.count('token')} token requests, not one"


def test_celery_repeats_a_task_after_a_failure_that_passes(layer, run_example, env):
    worker = run_example("celery", WORKER, env)
    layer.fault("business_data", status=503)
    layer.fault("business_data", status=404, business_id=business(2), times="forever")
    send(run_example, env, 3)
    eventually(lambda: "Retry in 2s" in worker.output(), worker.output)
    eventually(lambda: len(read(worker)[1]) == 2, worker.output)
    eventually(lambda: "404" in worker.output(), worker.output)
    assert business(2) not in read(worker)[1]
    assert layer.count("token") == 1
    assert CLIENT_SECRET not in worker.output()
