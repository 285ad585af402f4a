"""The backend of an application, for the browser tests: a page and its token endpoint.

    python backend.py FOLDER

It starts an emulator of Layer and serves the built page in FOLDER. It prints one line of JSON
with its addresses, and stops when its standard input ends. The control address plays what can
happen to a backend, and tells what it has seen.
"""

from __future__ import annotations

import json
import mimetypes
import socket
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from layerfi_auth.testing import BUSINESS_ID, CLIENT_SECRET, Emulator

OTHER_BUSINESS_ID = "9b2d7f0e-58c1-4e0a-8f1d-3c6a5b4e7d21"


class Application:
    """The state of the backend, and the client that mints the tokens."""

    def __init__(self, folder: Path, layer: Emulator) -> None:
        self.folder = folder
        self.layer = layer
        self.client = layer.client()
        self.lock = threading.Lock()
        # What a test sets: see `control`.
        self.life_fault = 0
        self.business: str | None = BUSINESS_ID
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        # What a test reads.
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.server: ThreadingHTTPServer | None = None
        # Bound also while the server does not listen, so that nobody else gets its port.
        self.reserved = socket.socket()
        self.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reserved.bind(("127.0.0.1", 0))
        self.port = self.reserved.getsockname()[1]

    def session(self, refused: str | None) -> Mapping[str, Any]:
        if refused is None:
            token = self.client.business_token(self.business)
        else:
            token = self.client.renew_business_token(self.business, refused)
        if token.secret not in self.tokens:
            self.tokens.append(token.secret)
        return token.to_session()

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, str], Mapping[str, Any]]:
        with self.lock:
            refused = request.get("refused")
            self.asked.append({"status": self.status, "refused": refused is not None})
            if self.status is not None:
                return self.status, self.headers, {"error": "unavailable"}
            if self.business is None:
                return 401, {}, {"error": "unauthorized"}
            return 200, {}, self.session(refused)

    def control(self, order: dict[str, Any]) -> dict[str, Any]:
        for name in ("business", "status", "headers"):
            if name in order:
                setattr(self, name, order[name])
        if "life" in order:
            self.set_life(order["life"])
        if "listen" in order:
            self.listen() if order["listen"] else self.close()
        access = self.client.token().secret
        return {
            "asked": self.asked,
            "tokens": self.tokens,
            "fingerprints": [self.layer.fingerprint(token) for token in self.tokens],
            "secrets": [CLIENT_SECRET, access],
        }

    def set_life(self, seconds: int) -> None:
        """Shorten the life that the next tokens are said to have.

        In truth they live for an hour, so that no test depends on how long a call takes.
        """
        self.layer.remove_fault(self.life_fault)
        self.life_fault = self.layer.fault(
            "auth_token", patch={"expires_in": seconds}, times="forever"
        )

    def listen(self) -> None:
        if self.server is None:
            self.server = serve(PageHandler, self, self.port)

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


class Handler(BaseHTTPRequestHandler):
    """Answers with JSON, and prints nothing."""

    app: Application

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> dict[str, Any]:
        length = int(self.headers.get("content-length") or 0)
        return json.loads(self.rfile.read(length) or b"{}")

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class PageHandler(Handler):
    def do_POST(self) -> None:
        if self.path != "/layer-token":
            self.send(HTTPStatus.NOT_FOUND, {}, b"")
            return
        status, headers, answer = self.app.answer(self.body())
        headers = {
            "content-type": "application/json",
            "cache-control": "no-store",
            "vary": "Cookie",
            "x-content-type-options": "nosniff",
            **headers,
        }
        self.send(status, headers, json.dumps(answer).encode())

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].lstrip("/") or "index.html"
        file = (self.app.folder / name).resolve()
        if not file.is_relative_to(self.app.folder) or not file.is_file():
            self.send(HTTPStatus.NOT_FOUND, {}, b"")
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self.send(HTTPStatus.OK, {"content-type": kind}, file.read_bytes())


class ControlHandler(Handler):
    def do_POST(self) -> None:
        answer = self.app.control(self.body())
        self.send(
            HTTPStatus.OK, {"content-type": "application/json"}, json.dumps(answer).encode()
        )


def serve(handler: type[Handler], app: Application, port: int = 0) -> ThreadingHTTPServer:
    bound = type(handler.__name__, (handler,), {"app": app})
    server = ThreadingHTTPServer(("127.0.0.1", port), bound)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    return server


def main() -> None:
    with Emulator(rate_limit=None, demo_data=True) as layer:
        app = Application(Path(sys.argv[1]).resolve(), layer)
        app.set_life(8)
        app.listen()
        control = serve(ControlHandler, app)
        addresses = {
            "page": f"http://127.0.0.1:{app.port}",
            "control": f"http://127.0.0.1:{control.server_port}",
            "layer": layer.control_url,
            "api": layer.url,
            "business": BUSINESS_ID,
            "otherBusiness": OTHER_BUSINESS_ID,
        }
        print(json.dumps(addresses), flush=True)
        sys.stdin.read()
        app.close()
        control.shutdown()


if __name__ == "__main__":
    main()
