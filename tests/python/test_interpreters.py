"""Several interpreters in one process: the package works only in the first."""

from __future__ import annotations

import sys

import pytest

from conftest import run_python


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python refuses no module before 3.12")
def test_second_interpreter_is_refused_and_the_first_still_works(layer):
    out = run_python(
        """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    run = interpreters.exec
else:
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
from layerfi_auth import Client
client = Client.from_env(proxy=False)
client.token()
code = '''
try:
    import layerfi_auth
except ImportError as error:
    print("refused:", error, flush=True)
'''
run(interpreters.create(), code)
print(client.whoami().client_name)
""",
        layer,
    )
    refused, name = out.splitlines()
    assert "subinterpreters" in refused
    assert name == "Layer Example"
