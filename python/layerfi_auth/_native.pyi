from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from os import PathLike
from typing import Any, Literal, NoReturn, TypeAlias, final
from uuid import UUID

from typing_extensions import Self, Unpack, disjoint_base

from layerfi_auth._types import (
    ClientOptions,
    EmulatedEnvironment,
    Endpoint,
    Environment,
    LayerProviderProps,
    LayerSession,
    Post,
    Settle,
)
from layerfi_auth.exceptions import LayerAuthError

__all__ = [
    "AccessToken",
    "AllowedOrigins",
    "Batch",
    "BusinessToken",
    "Client",
    "Emulator",
    "Jobs",
    "PendingCall",
    "ProviderAnswer",
    "Stats",
    "WhoAmI",
    "__version__",
    "add_hit_methods",
    "run_command",
    "shut_down",
]

_TlsTrouble: TypeAlias = Literal[
    "expired",
    "not_yet_valid",
    "wrong_host",
    "self_signed",
    "ca_as_leaf",
    "tls_1_1",
    "plain_http",
    "handshake_stall",
]

__version__: str

@disjoint_base
class Client:
    """Native base class of `layerfi_auth.Client`.

    It has the same name, because errors about arguments show it.
    """

    def __new__(
        cls,
        *,
        environment: Environment | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        client_secret_file: str | PathLike[str] | None = None,
        credentials: Callable[[], tuple[str, str]] | None = None,
        api_url: str | None = None,
        auth_url: str | None = None,
        scope: str | None = None,
        basic_encoding: Literal["raw", "form"] | None = None,
        ca_file: str | PathLike[str] | None = None,
        ca_pem: str | bytes | None = None,
        trust: Literal["system", "bundled", "ca_only"] | None = None,
        proxy: str | Literal[False] | None = None,
        allow_http_loopback: bool | None = None,
        allow_opaque_business_ids: bool | None = None,
        timeout: float | None = None,
        connect_timeout: float | None = None,
        attempt_timeout: float | None = None,
        max_attempts: int | None = None,
        business_token_capacity: int | None = None,
        keep_warm: bool | None = None,
        shared_cache: str | None = None,
        shared_cache_key: str | None = None,
        shared_cache_prefix: str | None = None,
        shared_business_tokens: bool | None = None,
        user_agent: str | None = None,
    ) -> Self: ...
    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Make a client from environment variables.

        These are LAYER_ENVIRONMENT, LAYER_CLIENT_ID, LAYER_CLIENT_SECRET or
        LAYER_CLIENT_SECRET_FILE, LAYER_API_URL, LAYER_AUTH_URL, LAYER_SCOPE, LAYER_CA_FILE,
        LAYER_TRUST, LAYER_SHARED_CACHE, LAYER_SHARED_CACHE_KEY and LAYER_ALLOW_HTTP_LOOPBACK.
        Arguments, which are those of ``Client``, replace them.

        For example:

            client = Client.from_env()
            client = Client.from_env(timeout=5)
        """
    @property
    def environment(self) -> Environment:
        """The environment's name: sandbox, production, production-ca or custom."""
    @property
    def api_url(self) -> str:
        """The API's base URL, without a trailing slash."""
    @property
    def auth_url(self) -> str:
        """The URL of the token endpoint."""
    @property
    def scope(self) -> str:
        """The OAuth scope that is requested."""
    def prepare(self) -> None:
        """Start to get an access token in the background, so that the first call finds it.

        Call it where the program starts, in sync and async code: it never waits. It does
        nothing while there is a valid token or a request for one. In a forked worker it
        starts the worker's own request. The connection to the API is opened by the first
        request to it.

        A failed request is logged as a warning, and raised by the next call that needs a
        token. Raises `TransportError` only if the engine's threads cannot be started.

        For example:

            client = Client.from_env()
            client.prepare()
        """
    def authorization(self, *, timeout: float | None = None) -> str:
        """Return the value of the ``Authorization`` header, ``Bearer <token>``.

        A valid token in the cache is used at once; otherwise all callers wait for one
        request.

        For example:

            headers = {"Authorization": client.authorization()}

        :param timeout: this call's timeout in seconds; by default the client's.
        """
    def token(self, *, timeout: float | None = None) -> AccessToken:
        """Return a valid access token.

        A cached one is returned at once; otherwise all callers wait for one request. A
        token that is about to expire is returned at once and replaced in the background.

        For example:

            token = client.token()
            print(token.remaining, "seconds left")

        :param timeout: this call's timeout in seconds; by default the client's.
        """
    def try_token(self) -> AccessToken | None:
        """Return the cached access token, or ``None`` if there is no valid one. Never waits.

        If there is none, a request for one starts in the background. After a failed
        request, its error is raised until the next request is allowed.

        For example:

            token = client.try_token()
            if token is None:
                print("not ready yet")
        """
    def renew_token(self, refused: AccessToken, *, timeout: float | None = None) -> AccessToken:
        """Return a token other than one that a server refused with 401.

        That is the current one if it is another, otherwise a new one. Other callers get
        the current token until it arrives, because the server may refuse it for one
        resource only. Returns ``refused`` itself if new tokens do not help; the 401 is
        then final.

        For example:

            token = client.token()
            fresh = client.renew_token(token)  # after a 401
            if fresh != token:
                headers = {"Authorization": fresh.authorization}  # send it once more

        :param refused: the token that was sent.
        :param timeout: this call's timeout in seconds; by default the client's.
        """
    def whoami(self, *, timeout: float | None = None) -> WhoAmI:
        """Ask Layer which client the credentials belong to.

        For example:

            print(client.whoami().client_name)

        :param timeout: this call's timeout in seconds; by default the client's.
        """
    def business_token(
        self,
        business_id: str | UUID,
        *,
        session_duration: int | None = None,
        min_remaining: float | None = None,
        timeout: float | None = None,
    ) -> BusinessToken:
        """Return a token for one business, for a browser: a cached one, or a new one.

        For example:

            token = client.business_token(business_id, session_duration=900)
            answer = token.to_session()  # JSON for the page

        :param business_id: the UUID of the business.
        :param session_duration: 1 to 86400 seconds; 3600 by default.
        :param min_remaining: lifetime in seconds that the token must have left; half of its
            lifetime by default.
        :param timeout: this call's timeout in seconds; by default the client's.
        """
    def renew_business_token(
        self,
        business_id: str | UUID,
        refused: BusinessToken | str,
        *,
        session_duration: int | None = None,
        timeout: float | None = None,
    ) -> BusinessToken:
        """Return a business token other than one that a page reports as refused.

        Others get the refused one until the new one arrives. Returns the current token if it
        is another one already, if it is less than 10 seconds old, or after too many refusals,
        so that a page to which everything answers 401 causes few requests.

        :param business_id: the UUID of the business.
        :param refused: the token, as an object or as text: the token itself, or its
            ``Authorization`` header. It is compared in constant time.
        :param session_duration: 1 to 86400 seconds; 3600 by default.
        :param timeout: this call's timeout in seconds; by default the client's.
        """
    def mint_business_token(
        self,
        business_id: str | UUID,
        *,
        session_duration: int | None = None,
        timeout: float | None = None,
    ) -> BusinessToken:
        """Mint a new token for one business. It is not cached.

        For example:

            token = client.mint_business_token(business_id)

        :param business_id: the UUID of the business.
        :param session_duration: 1 to 86400 seconds; 3600 by default.
        :param timeout: this call's timeout in seconds; by default the client's.
        """
    def invalidate(self, token: AccessToken | BusinessToken | str) -> bool:
        """Invalidate a token that a server refused with 401, if it is the current one.

        The next call gets a new token. Returns ``False`` if it is not the current one, or
        if tokens are invalidated so often that new ones do not help.

        For example:

            token = client.token()
            client.invalidate(token)  # after a 401

        :param token: an access token or a business token, as an object or as text: the token
            itself, or its ``Authorization`` header.
        """
    def stats(self) -> Stats:
        """Return the client's counters."""
    def _cached_token(self, timeout: float | None) -> AccessToken | None: ...
    def _cached_authorization(self, timeout: float | None) -> str | None: ...
    def _cached_business_token(
        self,
        business_id: str | UUID,
        session_duration: int | None,
        min_remaining: float | None,
        timeout: float | None,
    ) -> BusinessToken | None: ...
    def _start_token(
        self, post: Post, settle: Settle[AccessToken], timeout: float | None
    ) -> PendingCall: ...
    def _start_renew_token(
        self,
        post: Post,
        settle: Settle[AccessToken],
        refused: AccessToken,
        timeout: float | None,
    ) -> PendingCall: ...
    def _start_whoami(
        self, post: Post, settle: Settle[WhoAmI], timeout: float | None
    ) -> PendingCall: ...
    def _start_business_token(
        self,
        post: Post,
        settle: Settle[BusinessToken],
        business_id: str | UUID,
        session_duration: int | None,
        min_remaining: float | None,
        timeout: float | None,
    ) -> PendingCall: ...
    def _start_renew_business_token(
        self,
        post: Post,
        settle: Settle[BusinessToken],
        business_id: str | UUID,
        refused: BusinessToken | str,
        session_duration: int | None,
        timeout: float | None,
    ) -> PendingCall: ...
    def _start_mint_business_token(
        self,
        post: Post,
        settle: Settle[BusinessToken],
        business_id: str | UUID,
        session_duration: int | None,
        timeout: float | None,
    ) -> PendingCall: ...
    def _business_tokens(
        self,
        business_ids: Iterable[str | UUID],
        session_duration: int | None,
        max_in_flight: int | None,
    ) -> Batch: ...
    def _keep_alive(self, owner: object) -> None: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object, /) -> Self: ...
    def __reduce__(self) -> NoReturn: ...

@final
class PendingCall:
    @property
    def max_wait(self) -> float: ...
    def cancel(self) -> None: ...

@final
class Batch:
    def progress(self) -> tuple[int, int, int, int]: ...
    def take(self) -> BusinessToken | LayerAuthError | None: ...
    def wait(self) -> bool: ...
    def start_wait(self, post: Post, settle: Settle[bool]) -> PendingCall: ...
    def close(self) -> None: ...

@final
class Jobs:
    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[Callable[..., object], tuple[object, ...]]: ...

@final
class ProviderAnswer:
    def begin(self, thread: int) -> None: ...
    def take(self, value: object) -> None: ...
    def fail(self, error: BaseException) -> None: ...

@final
class AllowedOrigins:
    def __new__(cls, api_url: str, origins: Iterable[str]) -> Self: ...
    def allows(self, url: str) -> bool: ...
    def check(self, url: str) -> None: ...

@final
class AccessToken:
    """An access token for the Layer API."""

    @property
    def secret(self) -> str:
        """The token's text. Keep it out of logs and error reports."""
    @property
    def authorization(self) -> str:
        """The value of the ``Authorization`` header: ``Bearer <token>``."""
    @property
    def expires_in(self) -> int:
        """The lifetime that the server set, in seconds, counted from before the request."""
    @property
    def expires_at(self) -> datetime:
        """When the token expires, counted from before the request: an aware datetime in UTC."""
    @property
    def remaining(self) -> float:
        """Seconds until the token expires."""
    def to_dict(self, *, include_secret: bool = False) -> dict[str, str | int]:
        """Return a dict for JSON: ``token_type``, ``expires_in`` and ``expires_at``.

        ``expires_in`` is the remaining lifetime now, in whole seconds.

        :param include_secret: also include the token, as ``access_token``.
        """
    def __str__(self) -> NoReturn: ...
    def __format__(self, spec: str, /) -> NoReturn: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object, /) -> Self: ...
    def __reduce__(self) -> NoReturn: ...

@final
class BusinessToken:
    """A token for one business, for a browser or a mobile app."""

    @property
    def secret(self) -> str:
        """The token's text, for ``businessAccessToken`` of ``<LayerProvider>``."""
    @property
    def authorization(self) -> str:
        """The value of the ``Authorization`` header: ``Bearer <token>``."""
    @property
    def business_id(self) -> str:
        """The business that the token is for."""
    @property
    def session_duration(self) -> int:
        """The requested session duration, in seconds."""
    @property
    def expires_in(self) -> int:
        """The lifetime that the server set, in seconds, counted from before the request."""
    @property
    def expires_at(self) -> datetime:
        """When the token expires, counted from before the request: an aware datetime in UTC."""
    @property
    def remaining(self) -> float:
        """Seconds until the token expires."""
    def to_dict(self) -> dict[str, str | int]:
        """Return the token as a dict for a JSON response to a browser.

        ``expires_in`` is the remaining lifetime now, in whole seconds.
        """
    def to_session(self) -> LayerSession:
        """Return what a page needs to show Layer's components, as a dict for a JSON response.

        These are the items of `to_dict`, ``session_duration``, ``layer_provider_props``, and
        ``renew_in``: the whole seconds after which `Client.business_token` returns another
        token. Pages use ``expires_in``, and not ``expires_at``, because their users' clocks
        may be wrong. Send it with ``Cache-Control: no-store``, and only to a user of this
        business.
        """
    def layer_provider_props(self, *, environment: str | None = None) -> LayerProviderProps:
        """Return the props of ``<LayerProvider>`` of ``@layerfi/components``.

        These are business, token, and ``environment``, or ``environmentConfigOverride`` if
        the client has its own URLs or scope.

        :param environment: the name in the components' table of environments. By default
            that of the client; for a custom environment ``sandbox``, unless the scope says
            ``production``.
        """
    def __str__(self) -> NoReturn: ...
    def __format__(self, spec: str, /) -> NoReturn: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object, /) -> Self: ...
    def __reduce__(self) -> NoReturn: ...

@final
class WhoAmI:
    """The client that the credentials belong to."""

    def __new__(cls, client_name: str, client_id: str) -> Self: ...
    @property
    def client_name(self) -> str:
        """The client's name at Layer."""
    @property
    def client_id(self) -> str:
        """The client's id, a UUID."""
    def to_dict(self) -> dict[str, str]:
        """Return the client as a dict for JSON."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]: ...

@final
class Stats:
    """Counters of a client since it was made. They contain no secret."""

    @property
    def hits(self) -> int:
        """Calls that returned a cached token at once."""
    @property
    def stale_serves(self) -> int:
        """Hits while a refresh was due, running or failing."""
    @property
    def misses(self) -> int:
        """Requests started because there was no valid token."""
    @property
    def waits(self) -> int:
        """Calls that waited for a request, their own or another call's."""
    @property
    def refreshes(self) -> int:
        """Background refreshes started before expiry."""
    @property
    def token_requests(self) -> int:
        """Requests sent to the token endpoint."""
    @property
    def mints(self) -> int:
        """Requests sent to mint business tokens."""
    @property
    def retries(self) -> int:
        """Retries of failed requests."""
    @property
    def invalidations(self) -> int:
        """Tokens that were invalidated because a server refused them."""
    @property
    def failures(self) -> dict[str, int]:
        """Failures after all retries, by kind of error."""
    @property
    def business_tokens(self) -> int:
        """Number of business tokens in the cache."""
    @property
    def shared_adopted(self) -> int:
        """Tokens that came from the shared cache."""
    @property
    def shared_published(self) -> int:
        """Tokens that this client stored in the shared cache."""
    @property
    def shared_waits(self) -> int:
        """Requests for which this client waited for another process."""
    @property
    def shared_alone(self) -> int:
        """Requests sent alone, because the shared cache failed or no process had a result."""
    @property
    def shared_rejected(self) -> int:
        """Entries of the shared cache that were not accepted."""
    @property
    def shared_faults(self) -> int:
        """Failed operations of the shared cache."""
    @property
    def shared_cache(self) -> Literal["off", "up", "down"]:
        """``"off"`` without a shared cache, ``"up"``, or ``"down"`` after a failure."""
    @property
    def expires_at(self) -> datetime | None:
        """When the current access token expires (an aware datetime in UTC), if there is one."""
    def to_dict(self) -> dict[str, Any]:
        """Return the counters as a dict for JSON, under the names of the attributes.

        ``expires_at`` is text, such as ``2030-01-31T12:00:00Z``.
        """

@disjoint_base
class Emulator:
    """Native base class of `layerfi_auth.testing.Emulator`.

    Faults, counters and the log are passed as JSON, as in the control API. It has
    the same name, because errors about arguments show it.
    """

    def __new__(
        cls,
        *,
        environment: EmulatedEnvironment | None = None,
        clients: Iterable[tuple[str, str]] | None = None,
        unauthorized_clients: Iterable[tuple[str, str]] | None = None,
        businesses: Iterable[str | UUID] | None = None,
        basic_decoding: Literal["raw", "form"] | None = None,
        invalid_client_status: Literal[400, 401] | None = None,
        access_token_lifetime: float | None = None,
        business_token_lifetime: float | None = None,
        rate_limit: int | None = 100,
        tls: bool | None = None,
        port: int | None = None,
        control_port: int | None = None,
        proxy: bool | None = None,
        proxy_port: int | None = None,
        proxy_credentials: tuple[str, str] | None = None,
        names: Sequence[str] | None = None,
        idle_timeout: float | None = None,
        requests_per_connection: int | None = None,
        tls_trouble: _TlsTrouble | None = None,
        tls_versions: Literal["1.2", "1.3", "1.2-1.3"] | None = None,
        http_versions: Literal["1.1", "2", "1.1-2"] | None = None,
        authority_file: str | PathLike[str] | None = None,
        demo_data: bool | None = None,
        console: bool | None = None,
    ) -> Self: ...
    @property
    def url(self) -> str:
        """The API's base URL, without a trailing slash."""
    @property
    def token_url(self) -> str:
        """The URL of the token endpoint."""
    @property
    def control_url(self) -> str:
        """The URL of the control API."""
    @property
    def console_url(self) -> str | None:
        """The URL of the console, a page for a browser; ``None`` without a console."""
    @property
    def proxy_url(self) -> str | None:
        """The URL of the proxy, without credentials; ``None`` without a proxy."""
    @property
    def scope(self) -> str:
        """The OAuth scope that the emulator grants."""
    @property
    def ca_pem(self) -> str | None:
        """The certificate authority to trust, in PEM; ``None`` without TLS."""
    def set_tls_trouble(self, trouble: _TlsTrouble | None) -> None:
        """Set a defect of TLS for the next handshakes; ``None`` for no defect.

        Defects are ``expired``, ``not_yet_valid``, ``wrong_host``, ``self_signed``,
        ``ca_as_leaf``, ``tls_1_1``, ``plain_http`` and ``handshake_stall``.
        """
    def _rotate_authority(self) -> str: ...
    def set_proxy_credentials(self, credentials: tuple[str, str] | None) -> None:
        """Set the user and the password that the proxy requires.

        With ``None`` it accepts every client.
        """
    def set_idle_timeout(self, seconds: float | None) -> None:
        """Close idle connections after this many seconds; ``None`` to keep them.

        Applies to connections made later.
        """
    def connections(
        self,
        action: Literal["close", "reset", "finish", "freeze"],
        *,
        connection: int | None = None,
        only_idle: bool = False,
    ) -> int:
        """``close``, ``reset``, ``finish`` or ``freeze`` the open connections.

        With ``connection``, only the one with this number in the log; with
        ``only_idle``, those without a request in flight. Returns how many.
        """
    def remove_fault(self, number: int) -> bool:
        """Remove one fault; ``False`` if there is no fault with this number."""
    def clear_faults(self) -> None:
        """Remove all faults."""
    def release(self) -> None:
        """Answer all requests that a fault with ``hold`` holds, and thaw all connections."""
    def now(self) -> float:
        """Return the emulator's current time, in seconds since the epoch."""
    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward, or back if ``seconds`` is negative."""
    def stop_clock(self) -> None:
        """Stop the emulator's clock."""
    def run_clock(self) -> None:
        """Start the emulator's clock again."""
    def set_access_token_lifetime(self, seconds: float) -> None:
        """Set the lifetime of access tokens issued from now on, in seconds."""
    def set_business_token_lifetime(self, seconds: float | None) -> None:
        """Set the lifetime of business tokens issued from now on, in seconds.

        ``None`` stands for their session duration.
        """
    def set_rate_limit(self, per_second: int | None) -> None:
        """Set the rate limit in requests per second; ``None`` for no limit."""
    def revoke(self, token: str | AccessToken | BusinessToken) -> bool:
        """Revoke a token, given as text or as a token object.

        Returns ``False`` if this emulator did not issue it.
        """
    def revoke_all(self, kind: Literal["access", "business"]) -> None:
        """Revoke all tokens of a kind, ``access`` or ``business``."""
    def rotate(self, client_id: str, client_secret: str, *, keep_old: bool = False) -> None:
        """Give a client a new secret.

        The old one is refused from now on, unless ``keep_old`` is true.
        """
    def count(self, endpoint: Endpoint) -> int:
        """Return the number of requests to an endpoint.

        Endpoints are ``token``, ``whoami``, ``auth_token``, ``business``,
        ``business_data``, ``preflight``, ``unknown`` and ``proxy``.
        """
    def wait_for(self, endpoint: Endpoint, requests: int, *, timeout: float = 10.0) -> bool:
        """Wait until an endpoint has received this number of requests.

        Returns ``False`` if that takes longer than ``timeout`` seconds.
        """
    def fingerprint(self, token: str) -> str:
        """Return the name of a token in the log."""
    def reset(self) -> None:
        """Restore the state at the start, except for the ports."""
    def stop(self) -> None:
        """Stop the emulator. It cannot be started again."""
    def _credentials(self, client_id: str | None = None) -> tuple[str, str]: ...
    def _add_fault(self, fault: str) -> int: ...
    def _faults(self) -> str: ...
    def _counters(self) -> str: ...
    def _log(self, after: int) -> str: ...

def run_command(arguments: Sequence[str]) -> int: ...
def add_hit_methods(client_class: type[Client], /) -> None: ...
def shut_down() -> None: ...
