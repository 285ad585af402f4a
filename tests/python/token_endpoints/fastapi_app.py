"""Token endpoints of FastAPI, for the table of cases."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Header, HTTPException

from layerfi_auth import Client
from layerfi_auth.fastapi import layer_token_router

ORIGINS = ["https://app.example.com"]

client = Client.from_env()
app = FastAPI()


def current_business(x_business: str | None = Header(default=None)):
    if x_business == "refuse":
        raise HTTPException(403)
    return x_business


app.include_router(
    layer_token_router(client, business_id=Depends(current_business), allow_origins=ORIGINS)
)
app.include_router(
    layer_token_router(
        client,
        business_id=current_business,
        path="/with-get",
        allow_get=True,
        allow_origins=ORIGINS,
    )
)
