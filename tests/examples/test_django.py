"""examples/django: one token request for all workers, with WSGI and with ASGI."""

from __future__ import annotations

import re
import sys
from urllib.parse import urlencode

import pytest

from conftest import command, environment, eventually, run_command
from layerfi_auth.testing import Emulator

WORKERS = 3
PASSWORD = "only-for-the-test"
# The README's command, the routes' prefix, and the number of its workers.
SERVERS = {
    "wsgi": (command("django", "gunicorn shop.wsgi"), "", WORKERS),
    "asgi_workers": (command("django", "gunicorn -k"), "/async", WORKERS),
    "asgi": (command("django", "uvicorn"), "/async", 1),
}


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    """A migrated database with the user ada, which the servers only read."""
    env = {
        "SHOP_KEY": "signs-the-sessions-of-the-test",
        "SHOP_DATABASE": str(tmp_path_factory.mktemp("django") / "db.sqlite3"),
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    }
    create = command("django", "python manage.py createsuperuser").split()[2:]
    with Emulator() as layer:
        for arguments in (["migrate", "--verbosity", "0"], [*create, "--noinput"]):
            line = [sys.executable, "manage.py", *arguments]
            run_command(line, "django", environment(layer, env))
        assert layer.count("token") == 0, "a command of manage.py needs no token"
    return env


def sign_in(shop):
    """Sign in with Django's own form, and return the headers of a signed-in user."""
    form = shop.get("/accounts/login/")
    csrf = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', form.body)[1].decode()
    cookie = form.headers["set-cookie"].partition(";")[0]
    body = urlencode({"csrfmiddlewaretoken": csrf, "username": "ada", "password": PASSWORD})
    answer = shop.request(
        "POST",
        "/accounts/login/",
        body.encode(),
        **{"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status == 302, f"HTTP {answer.status}: {answer.body}"
    session = re.search(r"sessionid=[^;]+", answer.headers["set-cookie"])[0]
    return {"Cookie": session}


@pytest.mark.parametrize("server", SERVERS)
def test_b13_b29_django_sends_one_token_request_for_all_workers(
    layer, run_example, env, server
):
    line, prefix, workers = SERVERS[server]
    shop = run_example("django", line, env)
    shop.wait_until_up("/health")
    eventually(lambda: layer.count("token") >= 1)
    assert shop.post(f"{prefix}/layer-token").status == 401
    assert shop.get(f"{prefix}/business").status == 401
    ada = sign_in(shop)
    assert shop.get("/", **ada).status == 200
    session = shop.post(f"{prefix}/layer-token", **ada)
    assert session.json()["business_id"] == "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    assert session.headers["cache-control"] == "no-store"
    path = f"{prefix}/business"

    def all_workers_answered():
        for answer in shop.many(24, path, **ada):
            assert answer.status == 200, answer.body
        return len(set(re.findall(r"worker (\d+): read business", shop.output()))) == workers

    eventually(all_workers_answered, shop.output)
    assert layer.count("business") >= 24
    assert layer.count("token") == 1, f"{layer.count('token')} token requests, not one"
