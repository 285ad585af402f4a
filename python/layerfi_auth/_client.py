"""The client with its ``_async`` methods."""

from __future__ import annotations

from _collections_abc import Iterable  # `collections.abc` takes longer to import.

import layerfi_auth._worker  # For the native module's threads.
from layerfi_auth._await_call import await_call
from layerfi_auth._native import AccessToken, Batch, BusinessToken, WhoAmI, add_hit_methods
from layerfi_auth._native import Client as ClientBase
from layerfi_auth.exceptions import LayerAuthError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import final
    from uuid import UUID

    # The native module imports it. Named here for PyInstaller, which reads all imports.
    import layerfi_auth._greenlets  # noqa: F401
else:
    # `typing` and `uuid` take longer to import than this package, and only annotations use
    # them.
    UUID = object

    def final(cls: type) -> type:
        return cls


Result = BusinessToken | LayerAuthError
"""The result for one business of a batch."""


class BatchProgress:
    """Progress of a batch."""

    __slots__ = ("distinct", "done", "failed", "total")

    total: int
    """Number of inputs, including duplicates."""
    distinct: int
    """Number of different businesses."""
    done: int
    """Number of different businesses that have a result."""
    failed: int
    """Number of different businesses that failed."""

    def __init__(self, total: int, distinct: int, done: int, failed: int) -> None:
        self.total = total
        self.distinct = distinct
        self.done = done
        self.failed = failed

    def to_dict(self) -> dict[str, int]:
        """Return the numbers as a dict for JSON."""
        return {
            "total": self.total,
            "distinct": self.distinct,
            "done": self.done,
            "failed": self.failed,
        }

    def __repr__(self) -> str:
        return (
            f"BatchProgress(total={self.total}, distinct={self.distinct}, "
            f"done={self.done}, failed={self.failed})"
        )


class BusinessTokens:
    """The results of a batch, one per input and in its order.

    Iterate with ``for`` or, in a task, ``async for``. Each item is a `BusinessToken` or a
    `LayerAuthError`, also for an id that is not valid. Both have a ``business_id``. A failure
    does not end the batch. ``len`` is the number of inputs, so that a progress bar such as
    ``tqdm`` shows a total.
    """

    __slots__ = ("_batch",)

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    @property
    def progress(self) -> BatchProgress:
        """The progress. Results that have arrived but were not read count as done."""
        return BatchProgress(*self._batch.progress())

    def close(self) -> None:
        """End the batch: no more requests are sent, and missing results never arrive."""
        self._batch.close()

    def __len__(self) -> int:
        """Return the number of inputs, however many results were already read."""
        return self._batch.progress()[0]

    def __iter__(self) -> BusinessTokens:
        return self

    def __next__(self) -> Result:
        # Waiting and taking are separate, so that an interrupted wait loses no result.
        while (item := self._batch.take()) is None:
            if not self._batch.wait():
                raise StopIteration
        return item

    def __aiter__(self) -> BusinessTokens:
        return self

    async def __anext__(self) -> Result:
        # As in `__next__`, for a task that is cancelled.
        while (item := self._batch.take()) is None:
            if not await await_call(self._batch.start_wait):
                raise StopAsyncIteration
        return item

    def __repr__(self) -> str:
        return f"<BusinessTokens {self.progress!r}>"


@final
class Client(ClientBase):
    """A client of Layer's authentication: one for each set of credentials in a program.

    It can be used from all threads, tasks and event loops at once, and in forked workers.
    Making one sends no request. Every blocking method has an ``_async`` variant with the same
    cache. It cannot be subclassed: use an attribute instead.

    :param environment: ``sandbox``, ``production``, ``production-ca``, or ``custom`` (with
        your own ``api_url``, ``auth_url`` and ``scope``). Required.
    :param client_id: the client id that Layer issued.
    :param client_secret: the client secret. Or one of the next two:
    :param client_secret_file: a file with the secret, read before each token request.
    :param credentials: a callable that returns ``(client_id, client_secret)``, for example from
        a vault. It is called before each token request, on its own thread. An exception that it
        raises is the ``__cause__`` of a `CredentialsError`, whose text names only its class.
    :param api_url: the API's base URL, instead of the environment's.
    :param auth_url: the URL of the token endpoint, instead of the environment's.
    :param scope: the OAuth scope, instead of the environment's.
    :param basic_encoding: ``raw`` (the default) or ``form`` (RFC 6749 section 2.3.1).
    :param ca_file: a PEM file with certificate authorities to trust, in addition to those
        of ``trust``. It is read again after a certificate was not accepted.
    :param ca_pem: the same as text or bytes.
    :param trust: ``system`` (the default), ``bundled`` (Mozilla's certificate authorities,
        compiled in, for images without certificates), or ``ca_only`` (none but those of
        ``ca_file`` and ``ca_pem``).
    :param proxy: ``http://[user:password@]host:port``; ``False`` for no proxy. By default
        ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` are read.
    :param allow_http_loopback: allow ``http://`` to loopback addresses, for an emulator.
    :param allow_opaque_business_ids: allow business ids that are not UUIDs.
    :param timeout: longest time of a call in seconds, including retries; 30 by default.
    :param connect_timeout: longest time to connect in seconds, for each attempt; 5 by default.
    :param attempt_timeout: longest time of one attempt in seconds; 10 by default.
    :param max_attempts: most requests of one call; 4 by default, 1 for no retry.
    :param business_token_capacity: most business tokens in the cache; 10,000 by default.
    :param keep_warm: refresh the access token in the background even when it is not used.
    :param shared_cache: share tokens with other processes through a Redis or Valkey server,
        ``redis://[user:password@]host[:port][/database]``; with TLS ``rediss://``. Off by
        default. Tokens are stored sealed. A store that is down never fails a call.
    :param shared_cache_key: a secret that the keys of the shared cache also depend on. Only
        clients with the same one share tokens.
    :param shared_cache_prefix: the text with which all names in the store begin; ``layerfi``
        by default.
    :param shared_business_tokens: ``False`` to share only access tokens.
    :param user_agent: your product, such as ``my-service/1.2``.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        raise TypeError(
            "layerfi_auth.Client cannot be subclassed; keep one in an attribute instead"
        )

    # Not keyword-only: the interpreter calls a function without such parameters in a fast
    # way, and the slow way takes as long as a cache hit.
    async def token_async(self, timeout: float | None = None) -> AccessToken:
        """Return a valid access token, as `token` does, without blocking the event loop."""
        # Not in a variable, which a traceback with variables would show.
        return self._cached_token(timeout) or await self._wait_for_token(timeout)

    async def authorization_async(self, timeout: float | None = None) -> str:
        """Return the value of the ``Authorization`` header, as `authorization` does."""
        # Not in a variable, which a traceback with variables would show.
        return (
            self._cached_authorization(timeout)
            or (await self._wait_for_token(timeout)).authorization
        )

    async def _wait_for_token(self, timeout: float | None) -> AccessToken:
        return await await_call(self._start_token, timeout)

    async def renew_token_async(
        self, refused: AccessToken, *, timeout: float | None = None
    ) -> AccessToken:
        """Return a token other than a refused one, as `renew_token` does."""
        return await await_call(self._start_renew_token, refused, timeout)

    async def whoami_async(self, *, timeout: float | None = None) -> WhoAmI:
        """Ask Layer which client the credentials belong to, as `whoami` does."""
        return await await_call(self._start_whoami, timeout)

    async def business_token_async(
        self,
        business_id: str | UUID,
        *,
        session_duration: int | None = None,
        min_remaining: float | None = None,
        timeout: float | None = None,
    ) -> BusinessToken:
        """Return a token for one business, as `business_token` does."""
        cached = self._cached_business_token(
            business_id, session_duration, min_remaining, timeout
        )
        if cached is not None:
            return cached
        return await await_call(
            self._start_business_token, business_id, session_duration, min_remaining, timeout
        )

    async def renew_business_token_async(
        self,
        business_id: str | UUID,
        refused: BusinessToken | str,
        *,
        session_duration: int | None = None,
        timeout: float | None = None,
    ) -> BusinessToken:
        """Return a token other than a refused one, as `renew_business_token` does."""
        return await await_call(
            self._start_renew_business_token, business_id, refused, session_duration, timeout
        )

    async def mint_business_token_async(
        self,
        business_id: str | UUID,
        *,
        session_duration: int | None = None,
        timeout: float | None = None,
    ) -> BusinessToken:
        """Mint a new token for one business, as `mint_business_token` does."""
        return await await_call(
            self._start_mint_business_token, business_id, session_duration, timeout
        )

    def business_tokens(
        self,
        business_ids: Iterable[str | UUID],
        *,
        session_duration: int | None = None,
        max_in_flight: int | None = None,
    ) -> BusinessTokens:
        """Get tokens for many businesses within Layer's rate limit.

        Returns at once; iterate over the result with ``for`` or ``async for``. Duplicates
        are minted once. At most ``max_in_flight`` requests (32 by default) run at the same
        time. The client's timeout applies to each business; it does not include the wait for
        the rate limit.
        """
        return BusinessTokens(
            self._business_tokens(business_ids, session_duration, max_in_flight)
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: a client does not need to be closed, and other code may still use it."""

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing, as `__exit__`."""


add_hit_methods(Client)
