"""The project for ASGI servers."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_asgi_application()

from shop.layer import client  # noqa: E402  (after Django is set up)

client.prepare()  # Gets the token in the background: the first user does not wait for it.
