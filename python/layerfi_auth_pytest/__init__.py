"""The fixtures `layer_emulator` and `layer_client`, as a pytest plugin.

pytest loads this module at every start if the package is installed. It is not a part of
`layerfi_auth`, so that a start does not load the native module, and a broken installation fails
only the tests that use the fixtures.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from layerfi_auth import Client
    from layerfi_auth.testing import Emulator


@pytest.fixture
def layer_emulator() -> Iterator[Emulator]:
    """Return a new emulator of the Layer API for each test."""
    try:
        from layerfi_auth.testing import Emulator
    except ImportError as error:
        pytest.fail(
            f"layerfi_auth cannot be imported ({error}); install it again: "
            "pip install --force-reinstall layerfi-auth",
            pytrace=False,
        )
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def layer_client(layer_emulator: Emulator) -> Client:
    """Return a client of the test's emulator."""
    return layer_emulator.client()
