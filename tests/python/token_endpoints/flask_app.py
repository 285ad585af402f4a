"""Token endpoints of Flask, for the table of cases."""

from __future__ import annotations

from flask import Flask, abort, request

from layerfi_auth import Client
from layerfi_auth.flask import layer_token_blueprint

ORIGINS = ["https://app.example.com"]

client = Client.from_env()
app = Flask(__name__)


def current_business():
    business = request.headers.get("X-Business")
    if business == "refuse":
        abort(403)
    return business


app.register_blueprint(
    layer_token_blueprint(client, business_id=current_business, allow_origins=ORIGINS)
)
app.register_blueprint(
    layer_token_blueprint(
        client,
        business_id=current_business,
        path="/with-get",
        name="with_get",
        allow_get=True,
        allow_origins=ORIGINS,
    )
)
