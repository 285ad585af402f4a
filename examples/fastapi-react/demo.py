"""Runs the example against an emulator of Layer with demo data, until Ctrl-C.

    python demo.py

The emulator's business tokens live for 20 seconds, so that the page renews them all the time.
"""

import argparse
import os
import secrets
import socket
import threading
import time

import uvicorn
from layerfi_auth.testing import Emulator


def free_socket(port: int) -> socket.socket:
    """Listen on a port of this machine, or on any free one if it is in use."""
    for each in (port, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", each))
            listener.listen(128)
        except OSError:
            listener.close()
        else:
            return listener
    raise SystemExit("demo.py: no free port on 127.0.0.1")


def print_tokens(layer: Emulator, stopped: threading.Event) -> None:
    """Print one line for each token that the backend gets."""
    last = 0
    minted: set[str] = set()
    while not stopped.wait(0.5):
        for entry in layer.log(after=last):
            last = entry["number"]
            if entry["status"] != 200:
                continue
            if entry["endpoint"] == "token":
                what = "the backend's access token"
            elif entry["endpoint"] == "auth_token":
                business = entry["business_id"]
                how = "renewed" if business in minted else "first"
                minted.add(business)
                what = f"business token for {business} ({how})"
            else:
                continue
            print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--token-lifetime", type=int, default=20, metavar="SECONDS")
    options = parser.parse_args()

    with Emulator(
        demo_data=True, business_token_lifetime=options.token_lifetime, rate_limit=None
    ) as layer:
        os.environ.update(layer.env(), SHOP_KEY=secrets.token_hex())
        listener = free_socket(options.port)
        server = uvicorn.Server(uvicorn.Config("main:app", log_level="warning"))
        print(
            f"""
The page      http://127.0.0.1:{listener.getsockname()[1]}/
              sign in as ada (password ada-demo) or grace (grace-demo)
The console   {layer.console_url}
              all requests and tokens; you can revoke them, move the clock, add faults

Tokens live for {options.token_lifetime} seconds. Ctrl-C stops the demo.
""",
            flush=True,
        )
        stopped = threading.Event()
        printer = threading.Thread(target=print_tokens, args=(layer, stopped))
        printer.start()
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has shut down and raises it again.
            pass
        finally:
            stopped.set()
            printer.join()
    print("Stopped.")


if __name__ == "__main__":
    main()
