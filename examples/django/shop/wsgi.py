"""The project for WSGI servers."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()

from shop.layer import client  # noqa: E402  (after Django is set up)

client.prepare()  # Gets the token in the background: the first user does not wait for it.
