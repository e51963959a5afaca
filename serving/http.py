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
from serving.metrics.recorder import RequestRecorder
from serving.metrics.tally import ServiceTally
from serving.openapi import openapi_document
from serving.refusals import RequestRefused
from serving.request_body import Receive, Scope, read_json_body
from serving.request_json import parse_batch, parse_row
from serving.request_trace import RequestTrace, current_trace, finish_stage
from serving.served_model import ServedModel
from serving.served_models import ServedModels

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]

_METHODS = {"GET": ("GET", "HEAD"), "POST": ("POST",)}
_JSON = b"application/json"
_HTML = b"text/html; charset=utf-8"
_CLIENT_WENT_AWAY = 499
_INTERNAL = RequestRefused(
    "internal_error", "The service failed. Send the request again.", status=500, retry=True
)


@dataclass(frozen=True, slots=True)
class _Route:
    """What a path means: an action, and the model it names."""

    action: str
    method: str
    model: str | None = None
    template: str = "other"


@dataclass(frozen=True, slots=True)
class _Served:
    """The models that answer, and the pages about them: one object, so that both change at once."""

    models: ServedModels
    pages: dict[str, tuple[bytes, bytes]]


class ScoringApp:
    """Answers for the models it was last given; knows none before that.

    Attributes:
        recorder: Counts its requests.
    """

    def __init__(self) -> None:
        self.recorder = RequestRecorder(ServiceTally())
        self._served = _Served(ServedModels([]), {})

    @property
    def models(self) -> ServedModels:
        """The models that answer now."""
        return self._served.models

    def serve(self, models: ServedModels) -> None:
        """Answer for these models from now on; requests under way keep theirs.

        May be called from any thread.
        """
        document = openapi_document(models)
        page = (_HTML, docs_page(models, document).encode())
        pages = {"/openapi.json": (_JSON, encode(document)), "/docs": page, "/": page}
        self._served = _Served(models, pages)
        self.recorder.tally.versions = {
            model.name: (model.scorer.model_version, model.scorer.policy_version)
            for model in models.by_name.values()
        }

    def close(self) -> None:
        """Let go of what the models hold: online states and their connections."""
        self.models.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        trace = self.recorder.begin()
        try:
            await self._answer_or_refuse(scope, receive, send, trace)
        except asyncio.CancelledError:
            # By BentoML, which sends this status when its time-out is over.
            trace.status, trace.code = 504, "timed_out"
            raise
        finally:
            self.recorder.end(trace)

    async def _answer_or_refuse(
        self, scope: Scope, receive: Receive, send: Send, trace: RequestTrace
    ) -> None:
        try:
            await self._answer(scope, receive, send, trace)
        except RequestRefused as refusal:
            trace.code = refusal.code
            await _send_refusal(send, refusal)
        except ConnectionResetError:
            trace.status, trace.code = _CLIENT_WENT_AWAY, "client_went_away"
        except Exception:
            logger.exception("request failed", extra={"route": trace.route})
            trace.code = _INTERNAL.code
            await _send_refusal(send, _INTERNAL)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, trace: RequestTrace
    ) -> None:
        route = self._route(scope["path"])
        trace.route = route.template
        if scope["method"] not in _METHODS[route.method]:
            raise _wrong_method(route.method)
        if route.method == "GET":
            content_type, body = await self._page(scope["path"], route)
            await _send_whole(send, 200, body, content_type, head_only=scope["method"] == "HEAD")
            return
        model = self._take(route.model)
        try:
            body = await read_json_body(scope, receive)
            finish_stage("receive")
            await self._act(route.action, model, body, send)
        finally:
            model.users.give_back()

    def _take(self, name: str | None) -> ServedModel:
        """Return a model that stays whole until it is given back, also if it is swapped."""
        while True:
            model = self._served.models.get(name)
            # Otherwise it was swapped and let go between these two lines: its heir is there.
            if model.users.take():
                return model

    async def _act(self, action: str, model: ServedModel, body: bytes, send: Send) -> None:
        if action == "score/batch":
            await _send_batch(send, model, parse_batch(body))
            return
        act = _score_one if action == "score" else _report_labels
        # What waits for a file or a server does so beside the event loop, which answers others.
        if model.waits_for_state:
            answered = await asyncio.to_thread(_held, act, model, body)
        else:
            answered = act(model, body)
        await _send_whole(send, 200, answered)

    def _route(self, path: str) -> _Route:
        if path in _ROUTES:
            return _ROUTES[path]
        name, _, action = path.removeprefix("/v1/models/").partition("/")
        if path.startswith("/v1/models/") and name and f"/v1/{action}" in _OF_A_MODEL:
            return _Route(action, "POST", name, f"/v1/models/{{name}}/{action}")
        if path.startswith("/v1/models/") and name and not action:
            return _Route("model", "GET", name, "/v1/models/{name}")
        raise RequestRefused(
            "unknown_path", "There is nothing at this path; /docs lists what there is.", status=404
        )

    async def _page(self, path: str, route: _Route) -> tuple[bytes, bytes]:
        served = self._served
        if path in served.pages:
            return served.pages[path]
        if path == "/metrics":
            # Reads a file for each process: beside the event loop.
            return await asyncio.to_thread(self.recorder.published.page)
        models = served.models
        if route.action == "models":
            return _JSON, encode({"models": [models.describe(m) for m in models.by_name.values()]})
        return _JSON, encode(models.describe(models.get(route.model)))


def _named(*paths: str, action: str | None = None, method: str = "GET") -> dict[str, _Route]:
    return {path: _Route(action or path[4:], method, template=path) for path in paths}


_OF_A_MODEL = _named("/v1/score", "/v1/score/batch", "/v1/labels", method="POST")
_ROUTES = _OF_A_MODEL | _named("/v1/model", "/v1/models")
_ROUTES |= _named("/openapi.json", "/docs", "/", "/metrics", action="page")
# BentoML answers these to GET; what comes here used another method.
_ROUTES |= _named("/livez", "/readyz", "/healthz", action="page")


def _held(act: Callable[[ServedModel, bytes], bytes], model: ServedModel, body: bytes) -> bytes:
    """Act on a thread of its own, which goes on when its request is given up."""
    finish_stage("queue")
    with model.users:
        return act(model, body)


def _score_one(model: ServedModel, body: bytes) -> bytes:
    row = parse_row(body)
    finish_stage("parse")
    outcome = model.answer_rows([row])[0]
    if isinstance(outcome, RequestRefused):
        raise outcome
    trace = current_trace()
    if trace is not None:
        trace.answers.append(outcome)
    return encode(outcome)


def _report_labels(model: ServedModel, body: bytes) -> bytes:
    reader = LabelReader(model.scorer.bundle.contract)
    return encode(asdict(model.report_labels(reader.read(body, arrived=datetime.now(UTC)))))


def _score_batch_held(model: ServedModel, bodies: list[msgspec.Raw]) -> bytes:
    finish_stage("queue")
    with model.users:
        return _score_batch(model, bodies)


def _score_batch(model: ServedModel, bodies: list[msgspec.Raw]) -> bytes:
    """Return the batch's JSON: an answer a row, in order, or the row's error in its place."""
    results: list[Any] = [_parsed(body) for body in bodies]
    finish_stage("parse")
    sound = [at for at, result in enumerate(results) if not isinstance(result, RequestRefused)]
    outcomes = model.answer_rows([results[at] for at in sound])
    for at, outcome in zip(sound, outcomes, strict=True):
        results[at] = outcome
    _trace_rows(results)
    return encode(
        {
            "results": [
                result.to_json() if isinstance(result, RequestRefused) else result
                for result in results
            ]
        }
    )


def _trace_rows(results: list[Any]) -> None:
    trace = current_trace()
    if trace is None:
        return
    for result in results:
        if isinstance(result, RequestRefused):
            trace.refused.append(result.code)
        else:
            trace.answers.append(result)


def _parsed(body: msgspec.Raw) -> dict[str, Any] | RequestRefused:
    try:
        return parse_row(body)
    except RequestRefused as refusal:
        return refusal


async def _send_batch(send: Send, model: ServedModel, rows: list[msgspec.Raw]) -> None:
    # A thousand explained rows may take longer than BentoML waits for the first byte: the status
    # is settled here, so it goes out first. The work runs beside the event loop, which meanwhile
    # answers single rows.
    _trace_status(200)
    await send({"type": "http.response.start", "status": 200, "headers": [_content_type(_JSON)]})
    try:
        body = await asyncio.to_thread(_score_batch_held, model, rows)
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
    _trace_status(status)
    await send({**start, "headers": [_content_type(content_type), length, *headers]})
    await send({"type": "http.response.body", "body": b"" if head_only else body})


def _trace_status(status: int) -> None:
    trace = current_trace()
    if trace is not None:
        trace.status = status


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
