"""Asks Layer's MCP server about a business: python ask.py BUSINESS_ID

It lists the server's tools. Then each line of standard input is a call: TOOL [JSON]. A program
with a language model would give it these tools in place of a person's lines.
"""

import asyncio
import json
import os
import sys
from uuid import UUID

import httpx2
from layerfi_auth import Client
from layerfi_auth.auth import Httpx2Auth
from mcp.client.streamable_http import streamable_http_client

from mcp import Client as McpClient

# https://mcp.layerfi.com for production: server and credentials must be of one environment.
MCP_URL = os.environ.get("MCP_URL", "https://mcp-sandbox.layerfi.com")


async def main(business_id):
    client = Client.from_env()
    # Each request of a session, which may last for hours, gets a token that is valid then. The
    # token is sent to no other host than this one and the API's.
    auth = Httpx2Auth(client, origins=[MCP_URL])
    url = f"{MCP_URL}/mcp/b/{UUID(business_id)}"
    timeout = httpx2.Timeout(30, read=300)  # A tool may work for minutes.
    async with (
        httpx2.AsyncClient(auth=auth, timeout=timeout) as http,
        McpClient(streamable_http_client(url, http_client=http)) as layer,
    ):
        for tool in (await layer.list_tools()).tools:
            print(f"{tool.name}: {tool.description}")
        while line := await asyncio.to_thread(sys.stdin.readline):
            tool, _, arguments = line.strip().partition(" ")
            result = await layer.call_tool(tool, json.loads(arguments or "{}"))
            print(*(part.text for part in result.content if part.type == "text"), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
