"""A shop's backend: sign-in, the token endpoint of Layer's components, and the built page."""

import os
from dataclasses import dataclass
from pathlib import Path
from secrets import compare_digest
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.staticfiles import StaticFiles
from layerfi_auth import Client
from layerfi_auth.fastapi import layer_token_router
from pydantic import BaseModel
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

app = FastAPI()
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ["SHOP_KEY"],
    # Without it, a browser would send the cookie over HTTP too.
    https_only=os.environ.get("SHOP_HTTPS") == "1",
)
client = Client.from_env()  # One for the whole program. No request is made yet.


def current_user(request: Request) -> User:
    user = USERS.get(request.session.get("user", ""))
    if user is None:
        raise HTTPException(401, "sign in first")
    return user


CurrentUser = Annotated[User, Depends(current_user)]


def current_business(user: CurrentUser) -> str:
    return user.business_id


app.include_router(layer_token_router(client, business_id=Depends(current_business)))


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
    return {"company": user.company}


# What the page may load and call: itself, and Layer's API.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        f"connect-src 'self' {client.api_url}",
        "style-src 'self' 'unsafe-inline' https://rsms.me",
        "font-src 'self' https://rsms.me",
        "img-src 'self' data:",
        "frame-ancestors 'none'",
    ]
)


@app.middleware("http")
async def add_security_headers(request: Request, call_next):
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


app.mount("/", StaticFiles(directory=PAGE, html=True))
