"""A nightly job: reads the profit of each business from Layer, in a pool of processes."""

import os
from pathlib import Path

import requests
from celery.signals import worker_init
from celery.utils.log import get_task_logger
from layerfi_auth import Client, LayerAuthError
from layerfi_auth.auth import RequestsAuth

from celery import Celery

log = get_task_logger(__name__)
client = Client.from_env()  # One for the program. Importing this module sends no request.

app = Celery("shop", broker=os.environ.get("BROKER_URL", "redis://localhost:6379/0"))
if app.conf.broker_url.startswith("filesystem://"):  # A queue without a server, to try it.
    queue = Path(os.environ.get("QUEUE", "queue"))
    queue.mkdir(exist_ok=True)
    folders = ("data_folder_in", "data_folder_out", "control_folder")
    app.conf.broker_transport_options = dict.fromkeys(folders, str(queue))
app.conf.update(
    task_acks_late=True,  # A task whose process was killed runs again.
    broker_connection_retry_on_startup=True,
)


@worker_init.connect
def get_token(**_):
    """Get the token in the worker's main process, before it forks the pool."""
    try:
        client.token(timeout=10)
    except LayerAuthError as error:
        # An outage of Layer must not keep the worker down: each process asks again.
        log.warning("no token at the start: %s", error)


@app.task(bind=True, max_retries=8)
def read_profit(self, business_id, start_date, end_date):
    """Log a business's net profit. If Layer cannot answer now, the task comes back later."""
    url = f"{client.api_url}/v1/businesses/{business_id}/reports/profit-and-loss"
    try:
        answer = requests.get(
            url,
            params={"start_date": start_date, "end_date": end_date},
            auth=RequestsAuth(client),
            timeout=30,
        )
        answer.raise_for_status()
    except (LayerAuthError, requests.RequestException) as error:
        wait = seconds_until_retry(error, self.request.retries)
        if wait is None:
            raise  # For example a refused secret: a person must look at it.
        raise self.retry(exc=error, countdown=wait) from error
    log.info("business %s: profit %s", business_id, answer.json()["data"]["net_profit"])


def seconds_until_retry(error, retries):
    """Return 2, 4, 8 … 256 s, or what Layer asks for, or None if a retry cannot help."""
    if isinstance(error, LayerAuthError):
        if not error.retryable:
            return None
        if error.retry_after is not None:
            return error.retry_after
    elif isinstance(error, requests.HTTPError):
        status = error.response.status_code
        if status < 500 and status != 429:
            return None
    return 2 ** (retries + 1)
