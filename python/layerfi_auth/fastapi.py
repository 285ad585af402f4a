"""A token endpoint for FastAPI: gives a page of yours the session for Layer's components.

    app.include_router(layer_token_router(client, business_id=Depends(current_business)))

``pip install layerfi-auth[fastapi]``
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute

from layerfi_auth._client import Client
from layerfi_auth._token_endpoint import SESSION_DURATION, TIMEOUT, Answer, TokenEndpoint

__all__ = ["layer_token_router"]


def layer_token_router(
    client: Client,
    *,
    business_id: Any,
    path: str = "/layer-token",
    session_duration: int = SESSION_DURATION,
    timeout: float = TIMEOUT,
    allow_get: bool = False,
    allow_origins: Iterable[str] = (),
) -> APIRouter:
    """Return a router with one route, which answers with a session as JSON.

    :param business_id: ``Depends(current_business)``, or a dependency itself: a callable that
        returns the id of the signed-in user's business, or ``None`` if nobody is signed in
        (401). The business is never taken from the request's body or address.
    :param path: the route.
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
    is_dependency = hasattr(business_id, "dependency")
    current_business = business_id if is_dependency else Depends(business_id)

    router_headers = {"answer_headers": staticmethod(endpoint.headers)}
    router = APIRouter(route_class=type("LayerTokenRoute", (_LayerTokenRoute,), router_headers))

    async def layer_token(
        request: Request, business: str | UUID | None = current_business
    ) -> Response:
        origin = request.headers.get("origin")
        return _response(await endpoint.answer_async(business, await request.body(), origin))

    async def preflight(request: Request) -> Response:
        return _response(endpoint.preflight(request.headers.get("origin")))

    # FastAPI reads annotations as text in this module's names, which have no `Depends`.
    layer_token.__annotations__ = {
        "request": Request,
        "business": Any,
        "return": Response,
    }
    preflight.__annotations__ = {"request": Request, "return": Response}
    methods = [method for method in endpoint.methods if method != "OPTIONS"]
    router.add_api_route(path, layer_token, methods=methods, include_in_schema=False)
    router.add_api_route(path, preflight, methods=["OPTIONS"], include_in_schema=False)
    return router


class _LayerTokenRoute(APIRoute):
    """Puts the endpoint's headers on errors of dependencies too, such as a 401."""

    answer_headers: Callable[[str | None], dict[str, str]]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def with_headers(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                headers = self.answer_headers(request.headers.get("origin"))
                error.headers = {**(error.headers or {}), **headers}
                raise

        return with_headers


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))
