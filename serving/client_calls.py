"""What the Python client sends, and how it reads what comes back; no connection is opened here."""

import email.utils
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from serving.client_results import (
    AccessDenied,
    Answer,
    Decision,
    IdReused,
    LabelCounts,
    LabelReport,
    ModelDescription,
    RequestInvalid,
    RowError,
    ScoringFailed,
    ServiceFailed,
    TooManyRequests,
)

T = TypeVar("T")

_BY_STATUS: dict[int, type[ScoringFailed]] = {
    401: AccessDenied,
    403: AccessDenied,
    408: ServiceFailed,
    409: IdReused,
    429: TooManyRequests,
}
_GATEWAY_STATUSES = (502, 503, 504)
_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_counts = msgspec.json.Decoder(LabelCounts).decode


class RowsToRetry(ScoringFailed):
    """Raised inside the client for a batch of which some rows may succeed when sent again.

    Attributes:
        results: Of all its rows.
    """

    def __init__(self, results: "list[Answer | RowError]") -> None:
        super().__init__("rows_refused", "Some rows may be sent again.", retry=True)
        self.results = results


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, ready to be sent any number of times with one effect.

    Attributes:
        method: ``GET`` or ``POST``.
        path: From the service's address on.
        read: Turns the body of an answer into a result.
        content: JSON; None for a GET.
        headers: Besides the API key.
        is_batch: Whether it may take as long as a batch does.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    content: bytes | None
    headers: Mapping[str, str]
    is_batch: bool = False


def score(row: Mapping[str, Any], model: str | None, key: str | None) -> Call[Answer]:
    """Return the call that scores a row; the same ``key`` makes it the same row again."""
    return _post(f"{_prefix(model)}/score", row, _decode_answer, key)


def score_batch(
    rows: Sequence[Mapping[str, Any]], model: str | None, key: str | None
) -> Call[list[Answer | RowError]]:
    """Return the call that scores rows in order.

    Reading its answer raises :class:`RowsToRetry` where that is worth it.
    """
    path = f"{_prefix(model)}/score/batch"
    return _post(path, {"rows": rows}, _read_results, key, is_batch=True)


def report_labels(
    labels: Sequence[LabelReport | Mapping[str, Any]], model: str | None
) -> Call[LabelCounts]:
    """Return the call that reports what became of rows."""
    path = f"{_prefix(model)}/labels"
    return _post(path, {"labels": labels}, _decode_counts, None, is_batch=True)


def describe_model(model: str | None) -> Call[ModelDescription]:
    """Return the call that asks which version of a model answers."""
    path = "/v1/model" if model is None else _prefix(model)
    return Call("GET", path, _detailed(ModelDescription), None, {})


def find_decision(decision_id: str) -> Call[Decision]:
    """Return the call that asks for a recorded decision."""
    path = f"/v1/decisions/{quote(decision_id, safe='')}"
    return Call("GET", path, _detailed(Decision), None, {})


def read_answer(call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> T:
    """Return what an answer says.

    Raises:
        ScoringFailed: One of its subclasses, if it says no, or nothing that can be read.
    """
    if status == 200:
        try:
            return call.read(body)
        except msgspec.MsgspecError:
            raise _unreadable(status, is_retried=False) from None
    retry_after = _seconds(headers.get("retry-after"))
    try:
        error = msgspec.json.decode(body, type=dict[str, RowError])["error"]
    except (msgspec.MsgspecError, KeyError):
        # Of a proxy in between, or of a server that is going down.
        raise _unreadable(status, is_retried=status in _GATEWAY_STATUSES) from None
    kind = _BY_STATUS.get(status, ServiceFailed if status >= 500 else RequestInvalid)
    raise kind(
        error.code,
        error.message,
        field=error.field,
        retry=error.retry,
        status=status,
        retry_after=retry_after,
    )


def _post(
    path: str, value: Any, read: Callable[[bytes], T], key: str | None, *, is_batch: bool = False
) -> Call[T]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key or str(uuid.uuid4())}
    return Call("POST", path, read, _encoded(value), headers, is_batch)


def _prefix(model: str | None) -> str:
    return "/v1" if model is None else f"/v1/models/{quote(model, safe='')}"


def _encoded(value: Any) -> bytes:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestInvalid(
            "not_json",
            f"A row cannot be written as JSON: {error}. Send text, numbers, booleans, moments "
            "or None.",
        ) from None


def _plain(value: Any) -> Any:
    """Return a value that JSON has in place of one of numpy's or pandas'."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no type of JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")


def _read_results(body: bytes) -> list[Answer | RowError]:
    found = msgspec.json.decode(body, type=dict[str, list[dict[str, Any]]])
    results: list[Answer | RowError] = [
        msgspec.convert(result["error"], RowError)
        if "error" in result
        else msgspec.convert(result, Answer)
        for result in found.get("results", [])
    ]
    if any(isinstance(result, RowError) and result.retry for result in results):
        raise RowsToRetry(results)
    return results


def _detailed(kind: type[T]) -> Callable[[bytes], T]:
    def read(body: bytes) -> T:
        said = msgspec.json.decode(body, type=dict[str, Any])
        return msgspec.convert({**said, "details": said}, kind)

    return read


def _unreadable(status: int, *, is_retried: bool) -> ScoringFailed:
    kind = ServiceFailed if status >= 500 else RequestInvalid
    return kind(
        "unreadable_answer",
        f"What answered with status {status} is no whitecrow service, or a newer one. Check the "
        "address.",
        retry=is_retried,
        status=status,
    )


def _seconds(header: str | None) -> float | None:
    """Return how long a ``Retry-After`` says to wait, in seconds or as a date; None: nothing."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = moment.timestamp() - time.time()
    return max(0.0, seconds) if math.isfinite(seconds) else None
