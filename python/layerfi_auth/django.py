"""A token endpoint for Django: gives a page of yours the session for Layer's components.

    path("layer-token", layer_token_view(client, business_id=current_business))

``pip install layerfi-auth[django]``
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from layerfi_auth._client import Client
from layerfi_auth._token_endpoint import SESSION_DURATION, TIMEOUT, Answer, TokenEndpoint

__all__ = ["layer_token_view"]

_Business = str | UUID | None


def layer_token_view(
    client: Client,
    *,
    business_id: Callable[[HttpRequest], _Business | Awaitable[_Business]],
    session_duration: int = SESSION_DURATION,
    timeout: float = TIMEOUT,
    allow_get: bool = False,
    allow_origins: Iterable[str] = (),
) -> Callable[..., Any]:
    """Return a view that answers with a session as JSON: async if ``business_id`` is.

    The view needs no CSRF token: it changes nothing of yours, and a page of another origin
    cannot read its answer.

    :param business_id: a function of the request that returns the id of the signed-in user's
        business, or ``None`` if nobody is signed in (401). It may raise ``PermissionDenied``
        (403). With ``async def`` the view is async. The business is never taken from the
        request's body or address.
    :param session_duration: 1 to 86400 seconds; 28800 (8 hours) by default, because a new token
        makes all components fetch their data again. A shorter one limits how long a page that
        was open at sign-out can still be used.
    :param timeout: the longest time of an answer in seconds; 5 by default.
    :param allow_get: also answer GET.
    :param allow_origins: origins of pages that may call the view from another origin, with
        cookies, such as ``https://app.example.com``. None by default.
    """
    endpoint = TokenEndpoint(
        client,
        session_duration=session_duration,
        timeout=timeout,
        allow_get=allow_get,
        allow_origins=allow_origins,
    )

    def early(request: HttpRequest) -> HttpResponse | None:
        origin = request.headers.get("Origin")
        if request.method == "OPTIONS":
            return _response(endpoint.preflight(origin))
        if request.method not in endpoint.methods:
            refusal = HttpResponse(status=405, headers=endpoint.headers(origin))
            refusal["Allow"] = ", ".join(endpoint.methods)
            return refusal
        return None

    if inspect.iscoroutinefunction(business_id):

        async def layer_token_async(request: HttpRequest) -> HttpResponse:
            if (answered := early(request)) is not None:
                return answered
            origin = request.headers.get("Origin")
            try:
                business = await business_id(request)
            except PermissionDenied:
                return _response(endpoint.forbidden(origin))
            return _response(await endpoint.answer_async(business, request.body, origin))

        return csrf_exempt(layer_token_async)

    def layer_token(request: HttpRequest) -> HttpResponse:
        if (answered := early(request)) is not None:
            return answered
        origin = request.headers.get("Origin")
        try:
            business: Any = business_id(request)
        except PermissionDenied:
            return _response(endpoint.forbidden(origin))
        return _response(endpoint.answer(business, request.body, origin))

    return csrf_exempt(layer_token)


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
