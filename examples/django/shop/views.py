"""Pages, and routes that call Layer from the backend."""

import logging

import httpx
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from layerfi_auth.auth import HttpxAuth

from shop.layer import client, current_business, current_business_async

log = logging.getLogger(__name__)


@login_required
def home(request):
    """Show the page. Layer's components would stand in it."""
    return render(request, "home.html")


def business(request):
    """Call Layer with the access token that all workers share."""
    business_id = current_business(request)
    if business_id is None:
        return HttpResponse(status=401)
    url = f"{client.api_url}/v1/businesses/{business_id}"
    answer = httpx.get(url, auth=HttpxAuth(client)).raise_for_status()
    log.info("read business %s", business_id)
    return JsonResponse(answer.json()["data"])


async def business_async(request):
    """Do the same without blocking the event loop."""
    business_id = await current_business_async(request)
    if business_id is None:
        return HttpResponse(status=401)
    url = f"{client.api_url}/v1/businesses/{business_id}"
    async with httpx.AsyncClient(auth=HttpxAuth(client)) as api:
        answer = (await api.get(url)).raise_for_status()
    log.info("read business %s", business_id)
    return JsonResponse(answer.json()["data"])


def health(request):
    """Tell whether the process answers. It asks neither Layer nor the database."""
    return JsonResponse({"status": "ok"})
