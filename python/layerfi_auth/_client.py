"""The client, with the ``_async`` twins of its calls."""

from __future__ import annotations

from _collections_abc import Iterable  # All of `collections` takes longer than this package.

import layerfi_auth._threads  # noqa: F401  # The native module asks for it, from any thread.
from layerfi_auth._native import AccessToken, Batch, BusinessToken, ClientBase, WhoAmI
from layerfi_auth._waiting import arrival
from layerfi_auth.exceptions import LayerAuthError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import final
    from uuid import UUID
else:
    # `typing` and `uuid` take longer to import than all of this package, and
    # this is all that is wanted of them. Whoever has a UUID has imported it.
    UUID = object

    def final(cls: type) -> type:
        return cls


Result = BusinessToken | LayerAuthError
"""What one business of a batch comes to."""


class BatchProgress:
    """How far a batch has come."""

    __slots__ = ("distinct", "done", "failed", "total")

    total: int
    """Inputs, duplicates included."""
    distinct: int
    """Different businesses among them."""
    done: int
    """Different businesses whose result is there."""
    failed: int
    """Those of them that failed."""

    def __init__(self, total: int, distinct: int, done: int, failed: int) -> None:
        self.total = total
        self.distinct = distinct
        self.done = done
        self.failed = failed

    def __repr__(self) -> str:
        return (
            f"BatchProgress(total={self.total}, distinct={self.distinct}, "
            f"done={self.done}, failed={self.failed})"
        )


class BusinessTokens:
    """The results of a batch, one per input and in its order.

    Iterate with ``for`` or, in a task, ``async for``. Each item is a `BusinessToken`, or the
    `LayerAuthError` that this business met, be it only that its id is none. Both have a
    ``business_id``. One failure does not end the batch.
    """

    __slots__ = ("_batch",)

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    @property
    def progress(self) -> BatchProgress:
        """How far it has come; results that wait for their reader count as done."""
        return BatchProgress(*self._batch.progress())

    def close(self) -> None:
        """End the batch: nothing more is asked for, and what is missing never comes."""
        self._batch.close()

    def __iter__(self) -> BusinessTokens:
        return self

    def __next__(self) -> Result:
        # Taken only once the wait is over: a wait that is interrupted loses no result.
        while (item := self._batch.take()) is None:
            if not self._batch.wait():
                raise StopIteration
        return item

    def __aiter__(self) -> BusinessTokens:
        return self

    async def __anext__(self) -> Result:
        # As above, where a task is cancelled.
        while (item := self._batch.take()) is None:
            if not await arrival(self._batch.start_wait):
                raise StopAsyncIteration
        return item

    def __repr__(self) -> str:
        return f"<BusinessTokens {self.progress!r}>"


@final
class Client(ClientBase):
    """A client of Layer's authentication: one per set of credentials, for the whole program.

    It may be used from any thread, task and event loop at once, and in forked workers. Making
    one sends nothing. Every blocking call has an ``_async`` twin over the same cache. It is not
    made to be subclassed: hold one instead.

    :param environment: ``sandbox``, ``production``, ``production-ca``, or ``custom`` (with
        ``api_url``, ``auth_url`` and ``scope`` of your own). Required: there is no default.
    :param client_id: the client id that Layer issued.
    :param client_secret: its secret. Or one of:
    :param client_secret_file: a file with the secret, read before each token request;
    :param credentials: a callable that gives ``(client_id, client_secret)``, such as a vault,
        asked before each token request, on a thread of its own. What it raises is the
        ``__cause__`` of a `CredentialsError`, whose own text names no more than its class.
    :param api_url: the API's base URL, in place of the environment's.
    :param auth_url: the URL of the token endpoint, in place of the environment's.
    :param scope: the OAuth scope, in place of the environment's.
    :param basic_encoding: ``raw`` (the default) or ``form`` (RFC 6749 section 2.3.1).
    :param ca_file: a PEM file with authorities to trust beside the system's.
    :param ca_pem: the same as text or bytes.
    :param proxy: ``http://[user:password@]host:port``; ``False`` for none. Otherwise
        ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` are read.
    :param allow_http_loopback: allows ``http://`` to this machine, for an emulator.
    :param allow_opaque_business_ids: allows business ids that are not UUIDs.
    :param timeout: what each call may take in all, in seconds; 30 by default.
    :param connect_timeout: what connecting may take, per attempt; 5 by default.
    :param attempt_timeout: what one attempt may take; 10 by default.
    :param max_attempts: requests per call at the most; 4 by default, 1 for no retry.
    :param business_token_capacity: business tokens kept at the most; 10,000 by default.
    :param keep_warm: keeps the access token fresh with no caller present.
    :param user_agent: your product, such as ``my-service/1.2``.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        raise TypeError("layerfi_auth.Client cannot be subclassed; hold one instead")

    async def token_async(self, *, timeout: float | None = None) -> AccessToken:
        """Return a valid access token, as `token` does, without blocking the event loop."""
        token = self._held_token(timeout)
        if token is not None:
            return token
        return await arrival(self._start_token, timeout)

    async def authorization_async(self, *, timeout: float | None = None) -> str:
        """Return the ``Authorization`` header's value, as `authorization` does."""
        token = self._held_token(timeout)
        if token is None:
            token = await arrival(self._start_token, timeout)
        # In no variable: a report of an interrupt here would show it.
        return token.authorization

    async def whoami_async(self, *, timeout: float | None = None) -> WhoAmI:
        """Ask Layer whose credentials these are."""
        return await arrival(self._start_whoami, timeout)

    async def business_token_async(
        self,
        business_id: str | UUID,
        *,
        session_duration: int | None = None,
        min_remaining: float | None = None,
        timeout: float | None = None,
    ) -> BusinessToken:
        """Return a token for one business, as `business_token` does."""
        held = self._held_business_token(business_id, session_duration, min_remaining, timeout)
        if held is not None:
            return held
        return await arrival(
            self._start_business_token, business_id, session_duration, min_remaining, timeout
        )

    async def mint_business_token_async(
        self,
        business_id: str | UUID,
        *,
        session_duration: int | None = None,
        timeout: float | None = None,
    ) -> BusinessToken:
        """Mint a new token for one business, as `mint_business_token` does."""
        return await arrival(
            self._start_mint_business_token, business_id, session_duration, timeout
        )

    def business_tokens(
        self,
        business_ids: Iterable[str | UUID],
        *,
        session_duration: int | None = None,
        max_in_flight: int | None = None,
    ) -> BusinessTokens:
        """Get tokens for many businesses, in step with Layer's rate limit.

        Returns at once; iterate over the result with ``for`` or ``async for``. Duplicates
        are minted once; at most ``max_in_flight`` requests (32) are in the air together. The
        client's timeout bounds each business, from its turn at the rate limit on.
        """
        # It would be taken for the ids of its letters.
        if isinstance(business_ids, str | bytes):
            kind = type(business_ids).__name__
            raise TypeError(f"business_ids must be an iterable of ids, not one {kind}")
        return BusinessTokens(
            self._business_tokens(list(business_ids), session_duration, max_in_flight)
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: a client holds nothing that must be closed, and others may use it."""

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing, as at the end of a plain ``with``."""
