"""The HTTP side of scoring: one ASGI application, every refusal in one shape.

It is plain ASGI: the routes are few and known, and BentoML passes requests that a mounted
Starlette application does not know on to its own pages, whose errors have another shape.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from serving.answers import encode
from serving.docs_page import docs_page
from serving.label_requests import LabelReader
from serving.openapi import openapi_document
from serving.refusals import RequestRefused
from serving.request_body import Receive, Scope, read_json_body
from serving.request_json import parse_batch, parse_row
from serving.served_model import ServedModel
from serving.served_models import ServedModels

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]

_METHODS = {"GET": ("GET", "HEAD"), "POST": ("POST",)}
_JSON = b"application/json"
_HTML = b"text/html; charset=utf-8"
_INTERNAL = RequestRefused(
    "internal_error", "The service failed. Send the request again.", status=500, retry=True
)


@dataclass(frozen=True, slots=True)
class _Route:
    """What a path means: an action, and the model it names."""

    action: str
    method: str
    model: str | None = None


class ScoringApp:
    """Answers for the models it was last given; knows none before that."""

    def __init__(self) -> None:
        self._pages: dict[str, tuple[bytes, bytes]] = {}
        self._models = ServedModels([])

    def serve(self, models: ServedModels) -> None:
        """Answer for these models from now on; requests under way keep theirs."""
        document = openapi_document(models)
        page = (_HTML, docs_page(models, document).encode())
        self._pages = {"/openapi.json": (_JSON, encode(document)), "/docs": page, "/": page}
        self._models = models

    def close(self) -> None:
        """Let go of what the models hold: online states and their connections."""
        self._models.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except RequestRefused as refusal:
            await _send_refusal(send, refusal)
        except ConnectionResetError:
            logger.info("client went away", extra={"path": scope["path"]})
        except Exception:
            logger.exception("request failed", extra={"path": scope["path"]})
            await _send_refusal(send, _INTERNAL)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._route(scope["path"])
        if scope["method"] not in _METHODS[route.method]:
            raise _wrong_method(route.method)
        if route.method == "GET":
            content_type, body = self._page(scope["path"], route)
            await _send_whole(send, 200, body, content_type, head_only=scope["method"] == "HEAD")
            return
        model = self._models.get(route.model)
        body = await read_json_body(scope, receive)
        if route.action == "score/batch":
            await _send_batch(send, model, parse_batch(body))
            return
        act = _score_one if route.action == "score" else _report_labels
        # What waits for a file or a server does so beside the event loop, which answers others.
        answered = (
            await asyncio.to_thread(act, model, body) if model.waits_for_state else act(model, body)
        )
        await _send_whole(send, 200, answered)

    def _route(self, path: str) -> _Route:
        if path in _ROUTES:
            return _ROUTES[path]
        name, _, action = path.removeprefix("/v1/models/").partition("/")
        if path.startswith("/v1/models/") and name and f"/v1/{action}" in _OF_A_MODEL:
            return _Route(action, "POST", name)
        if path.startswith("/v1/models/") and name and not action:
            return _Route("model", "GET", name)
        raise RequestRefused(
            "unknown_path", "There is nothing at this path; /docs lists what there is.", status=404
        )

    def _page(self, path: str, route: _Route) -> tuple[bytes, bytes]:
        if path in self._pages:
            return self._pages[path]
        models = self._models
        if route.action == "models":
            return _JSON, encode({"models": [models.describe(m) for m in models.by_name.values()]})
        return _JSON, encode(models.describe(models.get(route.model)))


_OF_A_MODEL = {
    "/v1/score": _Route("score", "POST"),
    "/v1/score/batch": _Route("score/batch", "POST"),
    "/v1/labels": _Route("labels", "POST"),
}
_ROUTES = _OF_A_MODEL | {
    "/v1/model": _Route("model", "GET"),
    "/v1/models": _Route("models", "GET"),
    "/openapi.json": _Route("page", "GET"),
    "/docs": _Route("page", "GET"),
    "/": _Route("page", "GET"),
}
# BentoML answers these to GET; what comes here used another method.
_ROUTES |= {path: _Route("page", "GET") for path in ("/livez", "/readyz", "/healthz", "/metrics")}


def _score_one(model: ServedModel, body: bytes) -> bytes:
    outcome = model.answer_rows([parse_row(body)])[0]
    if isinstance(outcome, RequestRefused):
        raise outcome
    return encode(outcome)


def _report_labels(model: ServedModel, body: bytes) -> bytes:
    reader = LabelReader(model.scorer.bundle.contract)
    return encode(asdict(model.report_labels(reader.read(body, arrived=datetime.now(UTC)))))


def _score_batch(model: ServedModel, bodies: list[msgspec.Raw]) -> bytes:
    """Return the batch's JSON: an answer a row, in order, or the row's error in its place."""
    results: list[Any] = [_parsed(body) for body in bodies]
    sound = [at for at, result in enumerate(results) if not isinstance(result, RequestRefused)]
    outcomes = model.answer_rows([results[at] for at in sound])
    for at, outcome in zip(sound, outcomes, strict=True):
        results[at] = outcome
    return encode(
        {
            "results": [
                result.to_json() if isinstance(result, RequestRefused) else result
                for result in results
            ]
        }
    )


def _parsed(body: msgspec.Raw) -> dict[str, Any] | RequestRefused:
    try:
        return parse_row(body)
    except RequestRefused as refusal:
        return refusal


async def _send_batch(send: Send, model: ServedModel, rows: list[msgspec.Raw]) -> None:
    # A thousand explained rows may take longer than BentoML waits for the first byte: the status
    # is settled here, so it goes out first. The work runs beside the event loop, which meanwhile
    # answers single rows.
    await send({"type": "http.response.start", "status": 200, "headers": [_content_type(_JSON)]})
    try:
        body = await asyncio.to_thread(_score_batch, model, rows)
    except Exception:
        logger.exception("batch failed", extra={"n_rows": len(rows)})
        body = encode({"results": [_INTERNAL.to_json()] * len(rows)})
    await send({"type": "http.response.body", "body": body})


async def _send_whole(
    send: Send,
    status: int,
    body: bytes,
    content_type: bytes = _JSON,
    *,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    head_only: bool = False,
) -> None:
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [_content_type(content_type), length, *headers]})
    await send({"type": "http.response.body", "body": b"" if head_only else body})


async def _send_refusal(send: Send, refusal: RequestRefused) -> None:
    await _send_whole(send, refusal.status, encode(refusal.to_json()), headers=refusal.headers)


def _content_type(value: bytes) -> tuple[bytes, bytes]:
    return (b"content-type", value)


def _wrong_method(allowed: str) -> RequestRefused:
    names = ", ".join(_METHODS[allowed])
    return RequestRefused(
        "method_not_allowed",
        f"This path takes {names} only.",
        status=405,
        headers=((b"allow", names.encode()),),
    )
