"""B30: fleets of processes in Rust, C and Python that share tokens through a real server.

`make test-fleet` builds the processes and runs these tests.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time

import pytest

from conftest import BUSINESS, ROOT, TIMEOUT
from fleet import LEASE, POLL, Fleet
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET, Emulator
from redis_server import RedisServer

FIFTY = {"rust": 20, "c": 15, "python": 15}
FIFTEEN = {"rust": 5, "c": 5, "python": 5}
# A refresh begins when this share of a token's life is over, at the earliest.
REFRESH = 0.75
# The share that is left when a refresh that the store's failure postponed begins.
LEAST_LEFT = 0.08
# What a machine on which much else runs may add to a wait, in seconds.
SLACK = 12.0


@pytest.fixture(params=["redis", "valkey"])
def store(request, tmp_path):
    with RedisServer(tmp_path / "store", request.param) as server:
        yield server


@pytest.fixture
def redis(tmp_path):
    with RedisServer(tmp_path / "store") as server:
        yield server


@pytest.fixture
def valkey(tmp_path):
    with RedisServer(tmp_path / "store", "valkey") as server:
        yield server


def shared(server, **env):
    return {"LAYER_SHARED_CACHE": server.url, **env}


def emulator(life=3600.0, **settings):
    return Emulator(rate_limit=None, access_token_lifetime=life, **settings)


def sleep_until(fleet, when):
    time.sleep(max(0.0, fleet.started + when - time.monotonic()))


def check_requests(requests, expected, *totals):
    """Check a number of token requests.

    On a very busy machine a server may take longer than the 0.5 s of an answer. Then a
    process sends a request of its own, and counts it.
    """
    alone = sum(one.shared["alone"] for one in totals)
    assert alone <= sum(one.shared["faults"] for one in totals), totals
    text = f"{requests} token requests, {expected} expected: {[str(one) for one in totals]}"
    assert expected <= requests <= expected + alone, text


def no_call_fails(totals):
    assert totals.failed == 0, totals
    assert not totals.dead, f"dead tokens: {totals.dead}"


def test_b30_fifty_processes_send_one_token_request_per_token(tmp_path, store):
    life = 6.0
    with (
        emulator(life) as layer,
        Fleet(layer, tmp_path / "f", shared(store), business=BUSINESS, **FIFTY) as fleet,
    ):
        fleet.start()
        fleet.wait_until_all_have_a_token()
        first = layer.count("token")
        fleet.wait_until_all_have_a_token(what="business")
        minted = layer.count("auth_token")
        # Shortly before the end of three lives.
        sleep_until(fleet, 2.95 * life)
        requests, elapsed = layer.count("token"), time.monotonic() - fleet.started
        totals = fleet.stop()
        no_call_fails(totals)
        assert totals.processes == {"rust": 20, "c": 15, "python": 15}
        check_requests(first, 1, totals)
        check_requests(minted, 1, totals)
        # 4, unless the machine was so busy that more time passed.
        check_requests(requests, min(requests, 1 + int(elapsed / (REFRESH * life))), totals)
        assert requests >= 3, f"{requests} requests in {elapsed:.1f} s: {totals}"
        # On a very busy machine a token can expire on its way to the API.
        expired = layer.counters()["endpoints"]["whoami"]["by_status"].get("401", 0)
        assert expired == 0 or totals.slowest > LEAST_LEFT * life, totals
        assert totals.shared["adopted"] >= 3 * 49 - totals.shared["alone"], totals
        assert totals.shared["rejected"] == 0, totals


@pytest.mark.parametrize("kills", [1, 3], ids=["once", "three_in_a_row"])
def test_b30_killed_holder_of_the_lease_costs_one_request_and_one_lease(tmp_path, redis, kills):
    with (
        emulator() as layer,
        Fleet(layer, tmp_path / "f", shared(redis), **FIFTEEN) as fleet,
    ):
        layer.fault("token", hold=True, times=kills)
        fleet.start()
        for number in range(1, kills + 1):
            assert layer.wait_for("token", number, timeout=TIMEOUT)
            fleet.kill(fleet.process_with_a_token_request())
        took = fleet.wait_until_all_have_a_token()
        # Otherwise they would wait until their patience is over, which is 23 s.
        assert took < LEASE + POLL + SLACK, f"the others were served after {took:.1f} s"
        requests = layer.count("token")
        totals = fleet.stop()
        no_call_fails(totals)
        check_requests(requests, kills + 1, totals)
        assert len(set(fleet.tokens().values())) == 1


def test_b30_demo_shows_fewer_requests_with_a_store_and_no_failed_call():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/demo-fleet", "--processes", "12", "--lifetime", "3"],
        capture_output=True,
        text=True,
        timeout=3 * TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout} {done.stderr}"
    figures = re.findall(r"(\d+) token requests, (\d+) failed", done.stdout)
    assert len(figures) == 2, done.stdout
    (shared, _), (alone, _) = [map(int, one) for one in figures]
    # 12 processes have 5 lifetimes.
    assert shared < 60 <= alone, done.stdout


def random_trouble(store, dice):
    """Let the store have one trouble; it runs again afterwards."""
    match dice.choice(["pause", "kill", "restart", "flush"]):
        case "pause":
            store.pause()
            time.sleep(dice.uniform(0.2, 2.0))
            store.resume()
        case "kill":
            store.kill()
            time.sleep(dice.uniform(0.0, 1.0))
            store.start()
        case "restart":
            store.restart()
        case "flush":
            store.flush()
    time.sleep(dice.uniform(0.0, 0.7))


def test_b30_store_that_is_paused_killed_and_flushed_fails_no_call(tmp_path, store):
    life = 5.0
    dice = random.Random(20_261_127)
    with (
        emulator(life) as layer,
        Fleet(layer, tmp_path / "f", shared(store), **FIFTY) as fleet,
    ):
        fleet.start()
        fleet.wait_until_all_have_a_token()
        while time.monotonic() < fleet.started + 3 * life:
            random_trouble(store, dice)
        requests, lives = layer.count("token"), (time.monotonic() - fleet.started) / life
        assert store.is_mine()
        # It is used again by itself: all processes have one token.
        fleet.wait_until(
            lambda: len(set(fleet.tokens().values())) == 1,
            "the processes did not share a token again",
            timeout=2 * TIMEOUT,
        )
        totals = fleet.stop()
        no_call_fails(totals)
        # Alone, each process requests a token at the latest when 85 % of a life are over.
        alone = fleet.size * (1 + int(lives / 0.85))
        assert requests < alone, f"{requests} requests, alone {alone}: {totals}"
        # A look takes 2 s at the most, and what waits for it is no slower than that.
        assert totals.slowest < 2 * 2.0 + LEASE + SLACK, totals


@pytest.mark.parametrize("age", [1.0, 10.5], ids=["young", "old"])
def test_b30_token_that_all_processes_see_refused_costs_two_requests(tmp_path, valkey, age):
    with (
        emulator() as layer,
        Fleet(layer, tmp_path / "f", shared(valkey), whoami_every=1, **FIFTY) as fleet,
    ):
        fleet.start()
        fleet.wait_until_all_have_a_token()
        refused = set(fleet.tokens().values())
        # One that is younger than 10 s is replaced only once in that time.
        sleep_until(fleet, age)
        layer.revoke_all("access")
        fleet.wait_until_all_have_a_token(other_than=refused)
        totals = fleet.stop()
        no_call_fails(totals)
        check_requests(layer.count("token"), 2, totals)


def test_b30_client_that_is_always_refused_costs_one_request_in_ten_seconds(tmp_path, redis):
    # The second emulator does not know the first one's tokens.
    with emulator() as layer, emulator() as stranger:
        env = shared(redis)
        wrong = {**env, "LAYER_API_URL": stranger.url}
        with (
            Fleet(layer, tmp_path / "f", env, **FIFTEEN) as fleet,
            Fleet(layer, tmp_path / "wrong", wrong, rust=1, whoami_every=1) as refused,
        ):
            fleet.start()
            fleet.wait_until_all_have_a_token()
            began = refused.start()
            time.sleep(21.0)
            requests, elapsed = layer.count("token"), time.monotonic() - began
            bad, totals = refused.stop(), fleet.stop()
        no_call_fails(totals)
        assert set(bad.failures) == {("whoami", "api")}, bad
        assert not bad.dead, bad
        # The others send none, so all but the first are the refused client's.
        most = 2 + int(elapsed // 10)
        check_requests(requests, min(requests, most), bad, totals)
        assert requests >= 2, f"it sent none: {bad}"
        assert len(set(fleet.tokens().values())) == 1, "the others' token was replaced"


def tags(server):
    """Return the part of the keys that stands for a principal and its secret."""
    return {key.split(b"{")[1].split(b"}")[0] for key in server.client().keys("*")}


def test_b30_rotated_secret_costs_one_request_and_opens_no_old_entry(tmp_path, redis):
    life = 8.0
    secret = tmp_path / "secret"
    secret.write_text(CLIENT_SECRET)
    env = shared(redis, LAYER_CLIENT_SECRET="", LAYER_CLIENT_SECRET_FILE=str(secret))
    with emulator(life) as layer, Fleet(layer, tmp_path / "f", env, **FIFTEEN) as fleet:
        fleet.start()
        fleet.wait_until_all_have_a_token()
        before, first = tags(redis), set(fleet.tokens().values())
        assert len(before) == 1
        layer.rotate(CLIENT_ID, "emulator-rotated-secret-not-a-secret")
        new = tmp_path / "new"
        new.write_text("emulator-rotated-secret-not-a-secret")
        new.rename(secret)
        fleet.wait_until_all_have_a_token(other_than=first)
        requests, elapsed = layer.count("token"), time.monotonic() - fleet.started
        after = tags(redis) - before
        totals = fleet.stop()
        no_call_fails(totals)
        # 2, unless the machine was so busy that more time passed.
        most = max(2, 1 + int(elapsed / (REFRESH * life)))
        check_requests(requests, min(requests, most), totals)
        assert requests >= 2, totals
        assert len(after) == 1, "the new secret has other keys"
        assert totals.shared["rejected"] == 0, totals
        assert layer.counters()["endpoints"]["token"]["by_status"].keys() == {"200"}


def test_b30_apps_with_another_scope_secret_or_key_never_share(tmp_path, redis):
    apps = {
        "first": {},
        "scope": {"LAYER_SCOPE": "https://sandbox.layerfi.com/other"},
        "secret": {"LAYER_CLIENT_SECRET": "emulator-other-secret-not-a-secret"},
        "id": {"LAYER_CLIENT_ID": "emulator-other-id"},
        "key": {"LAYER_SHARED_CACHE_KEY": "not-a-secret-either"},
    }
    found, all_totals = {}, []
    with emulator() as layer:
        # Any scope, id and secret get a token.
        body = {"access_token": "{{token}}", "expires_in": 3600, "token_type": "Bearer"}
        layer.fault("token", body=body, times="forever")
        for name, env in apps.items():
            with Fleet(
                layer, tmp_path / name, shared(redis, **env), rust=2, c=2, python=2
            ) as fleet:
                fleet.start()
                fleet.wait_until_all_have_a_token()
                totals = fleet.stop()
            no_call_fails(totals)
            all_totals.append(totals)
            found[name] = set(fleet.tokens().values())
            check_requests(layer.count("token"), len(all_totals), *all_totals)
            assert totals.shared["rejected"] == 0, f"{name}: {totals}"
    assert len(set.union(*found.values())) == sum(map(len, found.values()))
    assert len(tags(redis)) == len(apps)


def test_b30_processes_without_a_store_send_a_request_each(tmp_path):
    """What the other tests compare with, and that the processes judge tokens."""
    with (
        emulator(4.0) as layer,
        Fleet(layer, tmp_path / "f", **FIFTEEN) as fleet,
    ):
        fleet.start()
        fleet.wait_until_all_have_a_token()
        # On a busy machine the first ones have another token before the last ones have one.
        assert layer.count("token") >= 15
        assert len(set(fleet.tokens().values())) == 15
        # A server that claims more than the token lives: the judges see dead tokens.
        layer.fault("token", patch={"expires_in": 3600}, times="forever")
        fleet.wait_until(
            lambda: {line["pid"] for line in fleet.lines("dead")} == fleet.pids(),
            "not all processes found their dead token",
        )
        assert os.getpid() not in fleet.pids()
