"""The props of `layer_provider_props()` in the published `<LayerProvider>`, in Chromium."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from layerfi_auth.testing import BUSINESS_ID, Emulator

RENDER = Path(__file__).with_name("render.mjs")
COMPONENTS = ["AccountingOverview", "ProfitAndLoss"]
# In seconds. render.mjs stops itself after 240 s; the first run also builds the page.
TIMEOUT = 270


@pytest.fixture
def layer():
    with Emulator(rate_limit=None) as emulator:
        yield emulator


def case(name, props, expect):
    return {"name": name, "props": props, "components": COMPONENTS, "expect": expect}


def with_environment(props, environment):
    override = {**props["environmentConfigOverride"], "environment": environment}
    return {**props, "environmentConfigOverride": override}


def render(*cases):
    """Run render.mjs. The props go through stdin, because they contain a token."""
    return subprocess.run(
        ["node", RENDER],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def assert_as_expected(done):
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def data_calls(layer):
    """Return the emulator's log entries of calls that the components made."""
    return [
        entry for entry in layer.log() if entry["endpoint"] in ("business", "business_data")
    ]


@pytest.mark.parametrize(
    ("played", "names"),
    [
        ("sandbox", {"sandbox"}),
        ("production", {"production"}),
        ("production-ca", {"production", "production-ca"}),
    ],
)
def test_b29_layer_provider_renders_with_the_props_of_a_custom_environment(played, names):
    with Emulator(environment=played, rate_limit=None) as layer:
        token = layer.client().business_token(BUSINESS_ID)
        props = token.layer_provider_props()
        override = props["environmentConfigOverride"]
        assert override["environment"] in names
        assert override["apiUrl"] == layer.url

        assert_as_expected(render(case(played, props, "renders")))

        calls = data_calls(layer)
        assert {call["path"].rsplit("/", 1)[-1] for call in calls} >= {
            BUSINESS_ID,
            "accounting-config",
            "profit-and-loss",
            "profit-and-loss-summaries",
        }
        expected = {"scheme": "Bearer", "fingerprint": layer.fingerprint(token.secret)}
        for call in calls:
            assert (call["status"], call["authorization"]) == (200, expected), call["path"]


def test_b29_layer_provider_crashes_with_an_environment_name_it_does_not_know(layer):
    """Control case: the check above would notice the name that custom clients have."""
    props = layer.client().business_token(BUSINESS_ID).layer_provider_props()

    done = render(
        case("custom", with_environment(props, "custom"), "crashes"),
        case("sandbox", with_environment(props, "sandbox"), "renders"),
    )

    assert_as_expected(done)
    assert "EnvironmentConfigs" in done.stdout.splitlines()[0]


def test_b29_render_script_fails_for_a_page_that_does_not_work(layer):
    """Control case: render.mjs notices a white page, an HTTP 401 and a page without a crash."""
    token = layer.client().business_token(BUSINESS_ID)
    props = with_environment(token.layer_provider_props(), "sandbox")
    assert layer.revoke(token)

    done = render(
        case("white", with_environment(props, "custom"), "renders"),
        case("revoked", props, "renders"),
        case("no crash", props, "crashes"),
    )

    assert done.returncode == 1, f"{done.stdout}{done.stderr}"
    white, revoked, no_crash = done.stdout.splitlines()
    assert white.startswith("FAILED white: ")
    assert "the page is white" in white
    assert revoked.startswith("FAILED revoked: ")
    assert "ended with status: 401" in revoked
    assert no_crash.startswith("FAILED no crash: ")
    assert "there was no uncaught error" in no_crash
    assert token.secret not in done.stdout + done.stderr
    assert "3 of 3 cases" in done.stderr
