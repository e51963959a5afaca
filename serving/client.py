"""The Python client of a scoring service: typed answers, time-outs, and retries that are safe.

Needs the extra ``client``, and none of the service's packages.

Example:
    >>> client = ScoringClient("http://127.0.0.1:3000")
    >>> client.close()

    With a service at that address, ``client.score({"ORDER_ID": 17, ...}).decision`` is
    ``"approve"``, ``"review"`` or ``"decline"``.
"""

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from infra.errors import InputError
from serving import client_calls as calls
from serving.client_patience import Patience, Retries
from serving.client_results import (
    Answer,
    Decision,
    LabelCounts,
    LabelReport,
    ModelDescription,
    RowError,
    ServiceUnreachable,
)

T = TypeVar("T")

API_KEY = "WHITECROW_API_KEY"
"""Environment variable of the API key."""

_CONNECT_SECONDS = 1.0
# Below the five seconds after which the service closes a connection that nobody uses.
_KEEP_ALIVE_SECONDS = 3.0


class _Connection:
    """What the two clients share: the address, the key and the patience."""

    def __init__(self, url: str, api_key: str | None, patience: Patience | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"The service's address must begin with http:// or https://. Got {url!r}."
            )
        key = api_key if api_key is not None else os.environ.get(API_KEY)
        self.patience = patience or Patience()
        self.options: dict[str, Any] = {
            "base_url": url,
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            "limits": httpx.Limits(keepalive_expiry=_KEEP_ALIVE_SECONDS),
        }

    def arguments(self, call: calls.Call[T]) -> dict[str, Any]:
        """Return what ``httpx`` sends for a call."""
        patience = self.patience
        seconds = patience.batch_timeout_seconds if call.is_batch else patience.timeout_seconds
        return {
            "method": call.method,
            "url": call.path,
            "content": call.content,
            "headers": call.headers,
            "timeout": httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS)),
        }


class ScoringClient:
    """Asks a scoring service; safe for several threads.

    Every method raises a subclass of :class:`serving.client_results.ScoringFailed`, with the
    service's ``code``, ``field`` and ``retry``.

    Args:
        url: Of the service, such as ``http://127.0.0.1:3000``.
        api_key: Default: the environment variable ``WHITECROW_API_KEY``; without both, none.
        patience: Time-outs and retries.

    Raises:
        InputError: If the address is none.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:3000",
        *,
        api_key: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._connection = _Connection(url, api_key, patience)
        self._http = httpx.Client(**self._connection.options)

    def score(
        self,
        row: Mapping[str, Any],
        *,
        model: str | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Return the answer to a row.

        Args:
            row: By column. NaN becomes null.
            model: Its name; None for the service's default.
            idempotency_key: Names the row where the contract has no id, also across calls and
                clients; by default the retries of this call only.
        """
        return self._send(calls.score(row, model, idempotency_key))

    def score_batch(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        model: str | None = None,
        idempotency_key: str | None = None,
    ) -> list[Answer | RowError]:
        """Return an answer for each row, or its error in its place, in order.

        Args:
            rows: At most 1,000; each row sees those before it.
            model: Its name; None for the service's default.
            idempotency_key: Names the batch where the contract has no id.
        """
        try:
            return self._send(calls.score_batch(rows, model, idempotency_key))
        except calls.RowsToRetry as refused:
            return refused.results

    def report_labels(
        self, labels: Sequence[LabelReport | Mapping[str, Any]], *, model: str | None = None
    ) -> LabelCounts:
        """Report what became of rows, at most 1,000, and return what that changed."""
        return self._send(calls.report_labels(labels, model))

    def model(self, name: str | None = None) -> ModelDescription:
        """Return which version of a model answers; None for the service's default."""
        return self._send(calls.describe_model(name))

    def decision(self, decision_id: str) -> Decision:
        """Return what was recorded of a decision."""
        return self._send(calls.find_decision(decision_id))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: calls.Call[T]) -> T:
        for attempt in Retries(self._connection.patience).attempts:
            with attempt:
                try:
                    response = self._http.request(**self._connection.arguments(call))
                except httpx.HTTPError as error:
                    raise _unreachable(error, self._http.base_url) from error
                return calls.read_answer(
                    call, response.status_code, response.headers, response.content
                )
        raise AssertionError("the last attempt returns or raises")


class AsyncScoringClient:
    """Asks a scoring service as :class:`ScoringClient` does, on an event loop."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:3000",
        *,
        api_key: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._connection = _Connection(url, api_key, patience)
        self._http = httpx.AsyncClient(**self._connection.options)

    async def score(
        self,
        row: Mapping[str, Any],
        *,
        model: str | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Return the answer to a row (:meth:`ScoringClient.score`)."""
        return await self._send(calls.score(row, model, idempotency_key))

    async def score_batch(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        model: str | None = None,
        idempotency_key: str | None = None,
    ) -> list[Answer | RowError]:
        """Return an answer for each row, or its error (:meth:`ScoringClient.score_batch`)."""
        try:
            return await self._send(calls.score_batch(rows, model, idempotency_key))
        except calls.RowsToRetry as refused:
            return refused.results

    async def report_labels(
        self, labels: Sequence[LabelReport | Mapping[str, Any]], *, model: str | None = None
    ) -> LabelCounts:
        """Report what became of rows (:meth:`ScoringClient.report_labels`)."""
        return await self._send(calls.report_labels(labels, model))

    async def model(self, name: str | None = None) -> ModelDescription:
        """Return which version of a model answers (:meth:`ScoringClient.model`)."""
        return await self._send(calls.describe_model(name))

    async def decision(self, decision_id: str) -> Decision:
        """Return what was recorded of a decision (:meth:`ScoringClient.decision`)."""
        return await self._send(calls.find_decision(decision_id))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, call: calls.Call[T]) -> T:
        async for attempt in Retries(self._connection.patience).attempts:
            with attempt:
                try:
                    response = await self._http.request(**self._connection.arguments(call))
                except httpx.HTTPError as error:
                    raise _unreachable(error, self._http.base_url) from error
                return calls.read_answer(
                    call, response.status_code, response.headers, response.content
                )
        raise AssertionError("the last attempt returns or raises")


def _unreachable(error: httpx.HTTPError, url: httpx.URL) -> ServiceUnreachable:
    if isinstance(error, httpx.TimeoutException):
        return ServiceUnreachable(
            "timed_out", f"The service at {url} did not answer in time.", retry=True
        )
    is_broken = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
    return ServiceUnreachable(
        "unreachable",
        f"Cannot reach the service at {url} ({error}). Check the address, and that it runs.",
        retry=is_broken,
    )
