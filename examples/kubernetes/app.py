"""A service that reads a business from Layer. Its secret is a file that Kubernetes replaces."""

from contextlib import asynccontextmanager
from uuid import UUID

import httpx
from fastapi import FastAPI, HTTPException
from layerfi_auth import Client, LayerAuthError
from layerfi_auth.auth import HttpxAuth

# LAYER_CLIENT_SECRET_FILE is read before each token request, so a new secret needs no restart.
client = Client.from_env()


@asynccontextmanager
async def lifespan(app):
    client.prepare()  # Gets the token in the background, while the pod becomes ready.
    async with httpx.AsyncClient(
        base_url=client.api_url, auth=HttpxAuth(client), timeout=10
    ) as app.state.api:
        yield


app = FastAPI(lifespan=lifespan)


# For other services of the cluster. A NetworkPolicy decides which of them may ask.
@app.get("/businesses/{business_id}")
async def business(business_id: UUID):
    try:
        answer = await app.state.api.get(f"/v1/businesses/{business_id}")
    except (LayerAuthError, httpx.HTTPError) as error:
        raise HTTPException(503, "Layer does not answer") from error
    if answer.status_code != 200:
        raise HTTPException(502, f"Layer answered {answer.status_code}")
    return answer.json()["data"]


@app.get("/health")
async def health():
    # Without a question to Layer: an outage there must not restart or remove the pods.
    return {"status": "ok"}
