"""Token endpoints of Django, sync and async, for the table of cases."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.urls import path

from layerfi_auth import Client
from layerfi_auth.django import layer_token_view

ORIGINS = ["https://app.example.com"]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="not-a-secret",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
)
django.setup()
client = Client.from_env()


def current_business(request):
    business = request.headers.get("X-Business")
    if business == "refuse":
        raise PermissionDenied
    return business


async def current_business_async(request):
    return current_business(request)


def views(prefix, business_id):
    return [
        path(
            f"{prefix}layer-token",
            layer_token_view(client, business_id=business_id, allow_origins=ORIGINS),
        ),
        path(
            f"{prefix}with-get",
            layer_token_view(
                client, business_id=business_id, allow_get=True, allow_origins=ORIGINS
            ),
        ),
    ]


urlpatterns = views("", current_business) + views("async/", current_business_async)
wsgi = get_wsgi_application()
asgi = get_asgi_application()
