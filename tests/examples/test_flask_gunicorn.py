"""examples/flask-gunicorn: four preloaded workers send one token request."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from conftest import command, eventually

WORKERS = 4
ENV = {"SHOP_KEY": "signs-the-sessions-of-the-test"}
GUNICORN = command("flask-gunicorn", "gunicorn")


def sign_in(shop, user="ada"):
    return {"Cookie": shop.post(f"/sign-in/{user}").headers["set-cookie"].partition(";")[0]}


def workers(shop, path):
    """Return the pids of the workers that answered this path with 200."""
    return set(re.findall(rf"worker <(\d+)>: GET {path} 200", shop.output()))


def send_until_all_workers_answered(shop, path, **headers):
    def all_answered():
        for answer in shop.many(24, path, **headers):
            assert answer.status == 200, answer.body
        return len(workers(shop, path)) == WORKERS

    eventually(all_answered, lambda: f"only workers {workers(shop, path)} answered {path}")


def test_b13_four_preloaded_gunicorn_workers_send_one_token_request(layer, run_example):
    shop = run_example("flask-gunicorn", GUNICORN, ENV)
    shop.wait_until_up("/health")
    assert shop.get("/business").status == 401, "nobody is signed in"
    ada = sign_in(shop)
    send_until_all_workers_answered(shop, "/business", **ada)
    assert str(shop.pid) not in workers(shop, "/business")
    assert layer.count("business") >= WORKERS
    assert layer.count("token") == 1, f"{layer.count('token')} token requests, not one"


def test_b29_flask_page_gets_the_session_of_its_own_business(layer, run_example):
    shop = run_example("flask-gunicorn", GUNICORN, ENV)
    shop.wait_until_up("/health")
    assert shop.post("/layer-token").status == 401
    assert shop.post("/sign-in/nobody").status == 403
    cookies = {user: sign_in(shop, user) for user in ("ada", "grace")}
    with ThreadPoolExecutor(8) as pool:
        sessions = list(
            pool.map(lambda user: shop.post("/layer-token", **cookies[user]), 8 * list(cookies))
        )
    businesses = {user.json()["business_id"] for user in sessions}
    assert len(businesses) == 2, businesses
    assert all(answer.headers["cache-control"] == "no-store" for answer in sessions)
    assert layer.count("token") == 1
    # Each worker mints its own business tokens, because they are made after the fork.
    assert 2 <= layer.count("auth_token") <= 2 * WORKERS


def test_flask_starts_while_layer_refuses_the_token_request(layer, run_example):
    layer.fault("token", status=401, times="forever")
    shop = run_example("flask-gunicorn", GUNICORN, ENV)
    shop.wait_until_up("/health")
    assert "no token at the start" in shop.output()
    assert layer.env()["LAYER_CLIENT_SECRET"] not in shop.output()
    ada = sign_in(shop)
    layer.clear_faults()
    eventually(lambda: shop.get("/business", **ada).status == 200)
