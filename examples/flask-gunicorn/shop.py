"""A shop that shows its users their books: a page with Layer's components, and an API."""

import os

import requests
from flask import Flask, abort, session
from layerfi_auth import Client
from layerfi_auth.auth import RequestsAuth
from layerfi_auth.flask import layer_token_blueprint

# Stands for your users' table: who is signed in decides which business is shown.
BUSINESS_OF_USER = {
    "ada": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "grace": "9b2d7f0e-58c1-4e0a-8f1d-3c6a5b4e7d21",
}

app = Flask(__name__)
app.secret_key = os.environ["SHOP_KEY"]  # Signs the session cookie.
app.config.update(SESSION_COOKIE_SAMESITE="Lax")

client = Client.from_env()  # One for the whole program. No request is made yet.


def current_business():
    """Return the business of the signed-in user, or None: never one that the request names."""
    return BUSINESS_OF_USER.get(session.get("user"))


# POST /layer-token gives the page its session for Layer's components.
app.register_blueprint(layer_token_blueprint(client, business_id=current_business))


@app.post("/sign-in/<user>")
def sign_in(user):
    """Stand for your sign-in; yours checks a password."""
    if user not in BUSINESS_OF_USER:
        abort(403)
    session["user"] = user
    return {"user": user}


@app.get("/business")
def business():
    """Call Layer from the backend, with the workers' shared access token."""
    business_id = current_business() or abort(401)
    answer = requests.get(
        f"{client.api_url}/v1/businesses/{business_id}", auth=RequestsAuth(client), timeout=10
    )
    answer.raise_for_status()
    return answer.json()["data"]


@app.get("/health")
def health():
    """Tell whether the process answers. It does not ask Layer: see README.md."""
    return {"status": "ok"}
