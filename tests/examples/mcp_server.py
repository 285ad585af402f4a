"""Plays Layer's MCP server: python mcp_server.py

It listens on $PORT, at /mcp/b/{businessId} for the emulator's example business. It takes the
bearer tokens that may read this business: it asks the emulator's API about each.
"""

import json
import os
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import anyio.to_thread
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

from layerfi_auth.testing import BUSINESS_ID

BUSINESS = f"{os.environ['LAYER_API_URL']}/v1/businesses/{BUSINESS_ID}"
URL = f"http://127.0.0.1:{os.environ['PORT']}"
opener = build_opener(ProxyHandler({}))


def read(url, token):
    """Read a resource of Layer's API with the token of the caller."""
    with opener.open(Request(url, headers={"Authorization": f"Bearer {token}"})) as answer:
        return json.load(answer)["data"]


class Verifier:
    async def verify_token(self, token):
        try:
            await anyio.to_thread.run_sync(read, BUSINESS, token)
        except HTTPError:
            return None
        return AccessToken(token=token, client_id="the client", scopes=[])


server = MCPServer(
    "Layer's stand-in",
    token_verifier=Verifier(),
    auth=AuthSettings(
        issuer_url=os.environ["LAYER_AUTH_URL"],
        resource_server_url=URL,
        validate_token_resource=False,
    ),
)


@server.tool()
def net_profit(start_date: str, end_date: str) -> int:
    """The net profit of a period, in cents."""
    url = f"{BUSINESS}/reports/profit-and-loss?start_date={start_date}&end_date={end_date}"
    return read(url, get_access_token().token)["net_profit"]


app = server.streamable_http_app(streamable_http_path=f"/mcp/b/{BUSINESS_ID}")
uvicorn.run(app, port=int(os.environ["PORT"]))
