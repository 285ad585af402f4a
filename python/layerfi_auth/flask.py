"""A token endpoint for Flask: gives a page of yours the session for Layer's components.

    app.register_blueprint(layer_token_blueprint(client, business_id=current_business))

``pip install layerfi-auth[flask]``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from layerfi_auth._client import Client
from layerfi_auth._token_endpoint import SESSION_DURATION, TIMEOUT, Answer, TokenEndpoint

__all__ = ["layer_token_blueprint"]


def layer_token_blueprint(
    client: Client,
    *,
    business_id: Callable[[], str | UUID | None],
    path: str = "/layer-token",
    name: str = "layer_token",
    session_duration: int = SESSION_DURATION,
    timeout: float = TIMEOUT,
    allow_get: bool = False,
    allow_origins: Iterable[str] = (),
) -> Blueprint:
    """Return a blueprint with one route, which answers with a session as JSON.

    :param business_id: a callable that returns the id of the signed-in user's business, or
        ``None`` if nobody is signed in (401). It may use ``flask.session`` and ``flask.g``, and
        abort. The business is never taken from the request's body or address.
    :param path: the route.
    :param name: the blueprint's name.
    :param session_duration: 1 to 86400 seconds; 28800 (8 hours) by default, because a new token
        makes all components fetch their data again. A shorter one limits how long a page that
        was open at sign-out can still be used.
    :param timeout: the longest time of an answer in seconds; 5 by default.
    :param allow_get: also answer GET.
    :param allow_origins: origins of pages that may call the route from another origin, with
        cookies, such as ``https://app.example.com``. None by default.
    """
    endpoint = TokenEndpoint(
        client,
        session_duration=session_duration,
        timeout=timeout,
        allow_get=allow_get,
        allow_origins=allow_origins,
    )
    blueprint = Blueprint(name, __name__)

    def layer_token() -> Response:
        origin = request.headers.get("Origin")
        if request.method == "OPTIONS":
            return _response(endpoint.preflight(origin))
        try:
            business = business_id()
        except HTTPException as error:
            response = error.get_response()
            response.headers.update(endpoint.headers(origin))
            return response  # type: ignore[return-value]
        return _response(endpoint.answer(business, request.get_data(cache=False), origin))

    blueprint.add_url_rule(
        path,
        view_func=layer_token,
        methods=endpoint.methods,
        provide_automatic_options=False,
    )
    return blueprint


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))
