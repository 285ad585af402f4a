"""gunicorn's settings: three workers, which share the token that the master got."""

import os

from layerfi_auth import LayerAuthError

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
workers = 3
preload_app = True  # The master imports the project, then forks.


def when_ready(server):
    """Get the token in the master, before it forks the workers."""
    from shop.layer import client

    try:
        client.token(timeout=10)
    except LayerAuthError as error:
        # An outage of Layer must not keep the service down: each worker asks again.
        server.log.warning("no token at the start: %s", error)
