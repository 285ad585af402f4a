"""A backend for frontend: the page calls Layer through it, and the browser gets no token."""

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import compare_digest
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from layerfi_auth import Client, LayerAuthError
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.middleware.sessions import SessionMiddleware


@dataclass(frozen=True)
class User:
    password: str
    company: str
    business_id: str  # The company's id at Layer.


# In place of your own table of users.
USERS = {
    "ada": User("ada-demo", "Ada's Bakery", "3fa85f64-5717-4562-b3fc-2c963f66afa6"),
    "grace": User("grace-demo", "Grace's Garage", "9b2d7f0e-58c1-4e0a-8f1d-3c6a5b4e7d21"),
}
PAGE = Path(__file__).with_name("page") / "dist"
# All other headers are dropped: cookies, and those of one connection only.
REQUEST_HEADERS = ["accept", "accept-encoding", "accept-language", "content-type"]
RESPONSE_HEADERS = [
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-type",
    "retry-after",
    "x-request-id",
]
LARGEST_BODY = 20_000_000
UNAUTHORIZED = 401

client = Client.from_env()  # One for the whole program. No request is made yet.
layer = httpx.AsyncClient(base_url=client.api_url, timeout=30)


@asynccontextmanager
async def lifespan(_: FastAPI):
    yield
    await layer.aclose()


app = FastAPI(lifespan=lifespan)
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ["SHOP_KEY"],
    # Without it, a browser would send the cookie over HTTP too.
    https_only=os.environ.get("SHOP_HTTPS") == "1",
)


def current_user(request: Request) -> User:
    user = USERS.get(request.session.get("user", ""))
    if user is None:
        raise HTTPException(401, "sign in first")
    return user


CurrentUser = Annotated[User, Depends(current_user)]


class BusinessAuth(httpx.Auth):
    """Sends a business token, which can do nothing at any other business."""

    def __init__(self, business_id: str) -> None:
        self.business_id = business_id

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await client.business_token_async(self.business_id)
        request.headers["Authorization"] = token.authorization
        response = yield request
        if response.status_code == UNAUTHORIZED:
            # Once: a token that was revoked is replaced, for all requests.
            token = await client.renew_business_token_async(self.business_id, token.secret)
            request.headers["Authorization"] = token.authorization
            yield request


@app.api_route("/layer/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def pass_on(path: str, request: Request, user: CurrentUser):
    # The business of the session. No dot and no percent sign, so no way out of its folder.
    if not re.fullmatch(rf"v1/businesses/{user.business_id}(/[A-Za-z0-9_-]+)*", path):
        raise HTTPException(403, "not a path of your business")
    sent = layer.build_request(
        request.method,
        f"/{path}",
        params=request.query_params,
        headers=chosen(request.headers, REQUEST_HEADERS),
        content=await limited_body(request),
    )
    try:
        answer = await layer.send(sent, auth=BusinessAuth(user.business_id), stream=True)
    except LayerAuthError as error:
        status = 503 if error.retryable else 502
        return JSONResponse({"error": error.kind}, status)
    except httpx.HTTPError:
        return JSONResponse({"error": "network"}, 502)
    # Layer refuses the token and not the user, who would be signed out by a 401.
    status = 502 if answer.status_code == UNAUTHORIZED else answer.status_code
    headers = {**chosen(answer.headers, RESPONSE_HEADERS), "Cache-Control": "no-store"}
    close = BackgroundTask(answer.aclose)
    return StreamingResponse(answer.aiter_raw(), status, headers, background=close)


def chosen(headers, names: list[str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


async def limited_body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"more than {LARGEST_BODY} bytes")
    return bytes(body)


class SignIn(BaseModel):
    name: str
    password: str


@app.post("/sign-in", status_code=204)
def sign_in(given: SignIn, request: Request) -> None:
    user = USERS.get(given.name)
    if user is None or not compare_digest(user.password.encode(), given.password.encode()):
        raise HTTPException(401, "wrong name or password")
    request.session["user"] = given.name


@app.post("/sign-out", status_code=204)
def sign_out(request: Request) -> None:
    request.session.clear()


@app.get("/me")
def me(user: CurrentUser) -> dict[str, str]:
    return {"company": user.company, "businessId": user.business_id}


app.mount("/", StaticFiles(directory=PAGE, html=True))
