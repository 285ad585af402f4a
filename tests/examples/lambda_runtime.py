"""Plays Lambda's runtime for Python: python lambda_runtime.py MODULE.FUNCTION

It imports the module and asks the runtime API for one event after another, with the requests
that AWS documents for custom runtimes.
"""

import importlib
import json
import os
import sys
import urllib.request
from pathlib import Path


def main():
    sys.path.insert(0, str(Path.cwd()))
    module, function = sys.argv[1].rsplit(".", 1)
    handler = getattr(importlib.import_module(module), function)
    api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        # Lambda freezes the process while it waits here.
        with opener.open(f"{api}/next") as answer:
            number, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], json.load(answer)
        body = json.dumps(handler(event, None)).encode()
        opener.open(f"{api}/{number}/response", body).close()


if __name__ == "__main__":
    main()
