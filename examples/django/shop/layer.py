"""Layer: the project's one client, and whose business a request may see."""

from layerfi_auth import Client

client = Client.from_env()  # One for the whole project. No request is made yet.

# Stands for a table of yours: who is signed in decides which business is shown.
BUSINESS_OF_USER = {
    "ada": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "grace": "9b2d7f0e-58c1-4e0a-8f1d-3c6a5b4e7d21",
}


def current_business(request):
    """Return the business of the signed-in user, or None: never one that the request names."""
    return BUSINESS_OF_USER.get(request.user.get_username())


async def current_business_async(request):
    """Return the same for async views. `auser` reads the database in a thread."""
    return BUSINESS_OF_USER.get((await request.auser()).get_username())
