"""Runs the shared table, tests/vectors/*.json, with the blocking and the async calls."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import secret_scanner
from layerfi_auth import Client, LayerAuthError
from layerfi_auth.testing import CLIENT_ID, CLIENT_SECRET, Emulator

TABLE = Path(__file__).resolve().parents[1] / "vectors"
CANARY = "canary"
CANARY_URL = "{{canary_url}}"
ENDPOINTS = [
    "token",
    "whoami",
    "auth_token",
    "business",
    "business_data",
    "preflight",
    "unknown",
    "proxy",
]

ENVIRONMENT = threading.Lock()

CASE_FIELDS = {
    "name", "why", "only", "emulator", "files", "variables", "settings", "client", "faults",
    "steps", "requests", "within_ms", "stats",
}  # fmt: skip
STEP_FIELDS = {
    "call", "business_id", "session_duration", "min_remaining", "token_of", "repeat", "callers",
    "elapsed_ms", "expect",
}  # fmt: skip
OK_FIELDS = {
    "lifetime", "same_as", "differs_from", "business_id", "session_duration", "client_name",
    "client_id", "invalidated",
}  # fmt: skip
ERROR_FIELDS = {
    "kind", "http_status", "oauth_error", "error_enum", "retryable", "retry_after_ms", "field",
    "message", "remedy",
}  # fmt: skip
VARIABLES = {
    "environment", "client_id", "client_secret", "client_secret_file", "api_url", "auth_url",
    "scope", "ca_file", "trust", "shared_cache", "shared_cache_key", "allow_http_loopback",
}  # fmt: skip
EMULATOR_FIELDS = {
    "basic_decoding", "invalid_client_status", "clients", "businesses", "tls", "names", "proxy",
}  # fmt: skip


PLACEHOLDERS = {
    "number": r"[0-9]+(?:\.[0-9]+)?",
    "date": r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT",
}


def read_table():
    for path in sorted(TABLE.glob("*.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        assert set(table) == {"about", "cases"}, path
        for case in table["cases"]:
            yield pytest.param(case, id=case["name"])


CASES = list(read_table())


def test_table_has_cases_with_unique_names():
    names = [case.id for case in CASES]
    assert len(names) > 50
    assert len(set(names)) == len(names)


class Blocking:
    """The blocking calls, from threads."""

    def call(self, client, name, args, kwargs, callers):
        def one():
            try:
                return getattr(client, name)(*args, **kwargs)
            except LayerAuthError as error:
                return error

        if callers == 1:
            return [one()]
        with ThreadPoolExecutor(callers) as threads:
            return [done.result() for done in [threads.submit(one) for _ in range(callers)]]


class Async:
    """The `_async` calls, from tasks."""

    def call(self, client, name, args, kwargs, callers):
        async def one():
            try:
                return await getattr(client, f"{name}_async")(*args, **kwargs)
            except LayerAuthError as error:
                return error

        async def all_of_them():
            return await asyncio.gather(*(one() for _ in range(callers)))

        return asyncio.run(all_of_them())


def check_fields(what, fields, allowed):
    assert set(fields) <= allowed, f"{what} has unknown fields: {set(fields) - allowed}"


def send_control(layer, method, path, body):
    request = urllib.request.Request(
        layer.control_url + path,
        data=json.dumps(body).encode() if body is not None else None,
        method=method,
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert answer.status == 200


def fits_tls(case):
    """Whether a case can run over TLS and HTTP/2, as in the Rust runner.

    Not if it tests URLs or bytes that only HTTP/1.1 has.
    """
    if {"api_url", "auth_url", "allow_http_loopback"} & set(case.get("client", {})):
        return False
    wires = json.dumps([fault.get("wire") for fault in case.get("faults", [])])
    if "variables" in case or case.get("emulator", {}).get("tls"):
        return False
    if '"message":' in json.dumps(case["steps"]) and any(
        "wire" in fault for fault in case.get("faults", [])
    ):
        return False
    words = ["raw", "head", "headers", "informational", "mid_head"]
    return not any(f'"{word}"' in wires for word in words)


def start(options, tls):
    check_fields("an emulator", options, EMULATOR_FIELDS)
    options = dict(options)
    for client in options.pop("clients", []):
        check_fields("an emulator's client", client, {"id", "secret", "unauthorized"})
        kind = "unauthorized_clients" if client.get("unauthorized") else "clients"
        options.setdefault(kind, []).append((client["id"], client["secret"]))
    return Emulator(**{"tls": tls, **options})


def build(layer, changes):
    settings = {
        "environment": "custom",
        "api_url": layer.url,
        "auth_url": layer.token_url,
        "scope": layer.scope,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "allow_http_loopback": True,
        "proxy": False,
        "ca_pem": layer.ca_pem,
    }
    for name, value in changes.items():
        if name.endswith("_ms"):
            settings[name.removesuffix("_ms")] = None if value is None else value / 1000
        else:
            settings[name] = value
    secret = settings["client_secret"] or ""
    try:
        return Client(**settings), secret
    except LayerAuthError as error:
        return error, secret


def build_from_variables(layer, changes):
    variables = {
        "LAYER_ENVIRONMENT": "custom",
        "LAYER_API_URL": layer.url,
        "LAYER_AUTH_URL": layer.token_url,
        "LAYER_SCOPE": layer.scope,
        "LAYER_CLIENT_ID": CLIENT_ID,
        "LAYER_CLIENT_SECRET": CLIENT_SECRET,
        "LAYER_ALLOW_HTTP_LOOPBACK": "1",
    }
    variables |= changes
    secret = variables["LAYER_CLIENT_SECRET"] or ""
    variables = {os.fsencode(name): bytes_of(value) for name, value in variables.items()}
    # Cases may run in threads.
    with ENVIRONMENT:
        before = {name: os.environb.get(name) for name in variables}
        try:
            set_variables(variables)
            return Client.from_env(proxy=False), secret
        except LayerAuthError as error:
            return error, secret
        finally:
            set_variables(before)


def set_variables(variables):
    for name, value in variables.items():
        if value is None:
            os.environb.pop(name, None)
        else:
            os.environb[name] = value


def bytes_of(value):
    """The bytes of a text, or of ``{"base64": …}``; `None` for null."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else value.encode()


def name_in_remedy(setting, uses_variables):
    if not uses_variables or setting not in VARIABLES:
        return setting
    variable = f"LAYER_{setting.upper()}"
    return f"{variable}=1" if setting == "allow_http_loopback" else variable


def text_matches(expected, text, name):
    """Whether an error's text is the expected one, except for numbers and dates."""
    expected = re.sub(r"(?<!\{)\{([a-z_]+)\}", lambda found: name(found[1]), expected)
    pieces = re.split(r"\{\{(number|date)\}\}", expected)
    pattern = "".join(
        PLACEHOLDERS[piece] if number % 2 else re.escape(piece)
        for number, piece in enumerate(pieces)
    )
    return re.fullmatch(pattern, text) is not None


class Failed(AssertionError):
    """An outcome differs from the expected one. The text shows no token."""


def check(condition, why):
    if not condition:
        raise Failed(why)


def secret_of(answer):
    return getattr(answer, "secret", None)


def check_error(error, expected, secret, *, uses_variables):
    check_fields("an error", expected, ERROR_FIELDS)
    for name, value in expected.items():
        if name == "retry_after_ms":
            got = None if error.retry_after is None else round(error.retry_after * 1000)
        elif name in {"message", "remedy"}:
            got = getattr(error, name)
            named = uses_variables and name == "remedy"
            if text_matches(
                value, got, lambda setting, named=named: name_in_remedy(setting, named)
            ):
                got = value
        else:
            got = getattr(error, name)
        check(got == value, f"{name} is {got!r}, expected {value!r}, in {error!r}")
    check(error.message and error.remedy, f"message or remedy is empty: {error!r}")
    shown = f"{error} {error!r} {error.message} {error.remedy} {vars(error)}"
    check(
        CANARY not in shown.lower() and not (secret and secret in shown),
        "its text shows a secret or the response body",
    )
    secrets = secret_scanner.Secrets()
    secrets.add_credentials(CLIENT_ID, secret)
    # Without this file's variables, some of which contain the secret.
    shown = secret_scanner.of_exception(error) + secret_scanner.with_variables(
        error, skip=__file__
    )
    shown += " ".join(
        map(secret_scanner.variables_of, secret_scanner.frames(error, skip=__file__))
    )
    what = secrets.found_in(shown)
    check(what is None, f"its traceback shows the {what}")


def check_answer(call, answer, expected, before, began):
    check_fields("an answer", expected, OK_FIELDS)
    if (seconds := expected.get("lifetime")) is not None:
        requested_at = answer.expires_at.timestamp() - seconds
        check(
            began - 1 <= requested_at <= time.time() + 1,
            f"it expires in {answer.expires_at.timestamp() - began:.1f} s, expected {seconds}",
        )
        if hasattr(answer, "expires_in"):
            check(answer.expires_in == seconds, f"expires_in is {answer.expires_in}")
    if (number := expected.get("same_as")) is not None:
        check(answer == before[number], f"it is another token than step {number}'s")
        check(secret_of(answer) == secret_of(before[number]), "equal, but not the same")
        check(hash(answer) == hash(before[number]), "equal, but of another hash")
    if (number := expected.get("differs_from")) is not None:
        check(answer != before[number], f"it is the same token as step {number}'s")
        check(secret_of(before[number]) is not None, f"step {number} gave no token")
    for name in ("business_id", "session_duration", "client_name", "client_id"):
        if expected.get(name) is not None:
            got = getattr(answer, name)
            check(got == expected[name], f"{name} is {got!r}, expected {expected[name]!r}")
    if expected.get("invalidated") is not None:
        check(answer is expected["invalidated"], f"invalidated is {answer}")
    if secret_of(answer):
        check(secret_of(answer) not in repr(answer), "its repr shows the token")


def outcomes(calls, client, step, before):
    if step["call"] == "build":
        return [client]
    if isinstance(client, LayerAuthError):
        raise Failed(f"the client was not built: {client!r}")
    if step["call"] == "invalidate":
        return [client.invalidate(before[step["token_of"]])]
    assert step["call"] in {"token", "whoami", "business_token", "mint_business_token"}
    args = [step["business_id"]] if "business_id" in step else []
    kwargs = {
        name: step[name] for name in ("session_duration", "min_remaining") if name in step
    }
    return calls.call(client, step["call"], args, kwargs, step.get("callers", 1))


def run_step(calls, client, step, before, secret, *, uses_variables):
    check_fields("a step", step, STEP_FIELDS)
    ((outcome, expected),) = step["expect"].items()
    assert outcome in {"ok", "error"}
    first = None
    began, started = time.time(), time.monotonic()
    for _ in range(step.get("repeat", 1)):
        for answer in outcomes(calls, client, step, before):
            if outcome == "error":
                check(isinstance(answer, LayerAuthError), f"it succeeded, expected {expected}")
                check_error(answer, expected, secret, uses_variables=uses_variables)
                continue
            check(not isinstance(answer, LayerAuthError), f"it failed: {answer!r}")
            check_answer(step["call"], answer, expected, before, began)
            if step["call"] != "mint_business_token" and first is not None:
                check(secret_of(answer) == secret_of(first), "callers got different tokens")
            first = first or answer
    took = (time.monotonic() - started) * 1000
    if "elapsed_ms" in step:
        least, most = step["elapsed_ms"]
        check(least <= took <= most, f"took {took:.0f} ms, expected {least} to {most}")
    return first


def run_case(case, calls, *, tls=False):
    for _ in range(4):
        started = time.monotonic()
        try:
            return run_case_once(case, calls, tls=tls)
        except Failed:
            took = (time.monotonic() - started) * 1000
            if took <= case.get("within_ms", took):
                raise
    return run_case_once(case, calls, tls=tls)


def run_case_once(case, calls, *, tls=False):
    check_fields("a case", case, CASE_FIELDS)
    assert case["why"]
    if "python" not in case.get("only", ["python"]):
        return
    canary = None
    text = json.dumps(case)
    if CANARY_URL in text:
        canary = socket.create_server(("127.0.0.1", 0))
        canary.setblocking(False)
        text = text.replace(CANARY_URL, f"http://127.0.0.1:{canary.getsockname()[1]}")
    case = json.loads(text)
    files = TemporaryDirectory(prefix="layerfi-case-")
    with files as folder, start(case.get("emulator", {}), tls) as layer:
        for name, content in case.get("files", {}).items():
            Path(folder, name).write_bytes(bytes_of(content))
        host = layer.url.partition("://")[2]
        text = text.replace("{{files}}", folder).replace("{{host}}", host)
        proxy = (layer.proxy_url or "").removeprefix("http://")
        case = json.loads(text.replace("{{proxy}}", proxy))
        if "settings" in case:
            send_control(layer, "POST", "/settings", case["settings"])
        send_control(layer, "POST", "/faults", case.get("faults", []))
        if "variables" in case:
            client, secret = build_from_variables(layer, case["variables"])
        else:
            client, secret = build(layer, case.get("client", {}))
        before = []
        for number, step in enumerate(case["steps"]):
            try:
                if "control" in step:
                    check_fields("a control step", step, {"control", "path", "body"})
                    send_control(layer, step["control"], step["path"], step.get("body"))
                    before.append(None)
                else:
                    before.append(
                        run_step(
                            calls,
                            client,
                            step,
                            before,
                            secret,
                            uses_variables="variables" in case,
                        )
                    )
            except Failed as why:
                raise Failed(f"step {number}: {why}") from None
        check_fields("requests", case["requests"], set(ENDPOINTS))
        for endpoint in ENDPOINTS:
            bounds = case["requests"].get(endpoint, 0)
            if isinstance(bounds, int):
                bounds = {"min": bounds, "max": bounds}
            count = layer.count(endpoint)
            check(
                bounds["min"] <= count <= bounds["max"],
                f"{count} requests of {endpoint}, expected {bounds}",
            )
        for name, expected in case.get("stats", {}).items():
            got = getattr(client.stats(), name)
            check(got == expected, f"stats.{name} is {got}, expected {expected}")
    if canary is not None:
        with canary, contextlib.suppress(BlockingIOError):
            canary.accept()[0].close()
            raise Failed("a request was sent to the canary server")


@pytest.mark.parametrize("calls", [Blocking(), Async()], ids=["blocking", "async"])
@pytest.mark.parametrize("case", CASES)
def test_case(case, calls):
    run_case(case, calls)


def test_runner_fails_for_a_wrong_text():
    case = next(case.values[0] for case in CASES if case.id == "mistake_wrong_secret")
    (step,) = case["steps"]
    for field in ("message", "remedy"):
        error = step["expect"]["error"]
        error = {**error, field: error[field] + "."}
        change = {"steps": [{**step, "expect": {"error": error}}]}
        with pytest.raises(Failed, match=field):
            run_case({**case, **change}, Blocking())


def test_runner_fails_for_wrong_expectations():
    case = next(case.values[0] for case in CASES if case.id == "token_documented")
    for change in (
        {"requests": {"token": 2}},
        {"stats": {"token_requests": 7}},
        {"steps": [{"call": "token", "expect": {"ok": {"lifetime": 60}}}]},
        {"steps": [{"call": "token", "expect": {"error": {"kind": "oauth"}}}]},
    ):
        with pytest.raises(Failed):
            run_case({**case, **change}, Blocking())
    # A client that sends a request to the canary server.
    step = {"call": "whoami", "expect": {"error": {"kind": "timeout"}}}
    change = {"client": {"api_url": CANARY_URL, "timeout_ms": 300}, "steps": [step]}
    with pytest.raises(Failed, match="canary"):
        run_case({**case, **change, "stats": {}}, Blocking())
