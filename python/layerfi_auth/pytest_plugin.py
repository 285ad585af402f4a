"""Fixtures for your own tests. pytest loads this plugin if the package is installed."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from layerfi_auth._client import Client
    from layerfi_auth.testing import Emulator


@pytest.fixture
def layer_emulator() -> Iterator[Emulator]:
    """Return a new emulator of the Layer API for each test."""
    from layerfi_auth.testing import Emulator

    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def layer_client(layer_emulator: Emulator) -> Client:
    """Return a client of the test's emulator."""
    return layer_emulator.client()
