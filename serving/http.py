"""The HTTP side of scoring: one ASGI application, every refusal in one shape.

It is plain ASGI: the routes are few and known, and BentoML passes requests that a mounted
Starlette application does not know on to its own pages, whose errors have another shape.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from serving.access.admission import Admission, Limits
from serving.access.gate import ANYBODY, Caller, Gate
from serving.answers import encode
from serving.decisions.log import DecisionLog
from serving.decisions.lookup import decision_page
from serving.docs_page import docs_page
from serving.forced_answers import ForcedAnswers, with_forced
from serving.metrics.recorder import RequestRecorder
from serving.metrics.tally import ServiceTally
from serving.openapi import openapi_document
from serving.outcomes import OutcomeBook
from serving.refusals import RequestRefused, internal_error
from serving.reported_labels import ReportedLabel, TakenLabels
from serving.request_actions import (
    held,
    report_labels,
    score_batch,
    score_one,
)
from serving.request_body import Headers, Receive, Scope, discard_body, read_json_body
from serving.request_context import RequestContext
from serving.request_json import parse_batch, parse_row
from serving.request_trace import RequestTrace, finish_stage
from serving.routes import DECISIONS, METHODS, Route, route_of, wrong_method
from serving.sending import HTML, JSON, Send, send_json_start, send_refusal, send_whole
from serving.served_model import ServedModel
from serving.served_models import ServedModels

logger = logging.getLogger(__name__)

_IDEMPOTENCY_KEY = b"idempotency-key"
_CLIENT_WENT_AWAY = 499


@dataclass(frozen=True, slots=True)
class _Served:
    """The models that answer, and the pages about them: one object, so that both change at once."""

    models: ServedModels
    pages: dict[str, tuple[bytes, bytes]]


class ScoringApp:
    """Answers for the models it was last given; knows none before that.

    Attributes:
        recorder: Counts its requests.
        decision_log: Where the models' decisions are found again; None where nowhere.
        outcomes: Where reported labels close alerts; None where nowhere.
    """

    def __init__(self) -> None:
        self.recorder = RequestRecorder(ServiceTally())
        self._served = _Served(ServedModels([]), {})
        self.decision_log: DecisionLog | None = None
        self.outcomes: OutcomeBook | None = None
        self._gate: Gate | None = None
        self._forced: ForcedAnswers | None = None
        self._limits = Limits()
        self._admission = Admission(self._limits.max_under_way)

    @property
    def models(self) -> ServedModels:
        """The models that answer now."""
        return self._served.models

    def guard(self, gate: Gate, limits: Limits, *, test_identities: bool = False) -> None:
        """Ask for keys and keep to limits from now on; called before anything is served.

        Args:
            gate: Knows the keys.
            limits: What this process bears.
            test_identities: Whether some ids force their answer.
        """
        self._gate, self._limits = gate, limits
        self._admission = Admission(limits.max_under_way)
        if test_identities:
            self._forced = ForcedAnswers(slow_seconds=limits.deadline_seconds / 2)
            logger.warning("test identities are on: ids such as test:decline force their answer")

    def serve(self, models: ServedModels) -> None:
        """Answer for these models from now on; requests under way keep theirs.

        May be called from any thread.
        """
        document = openapi_document(models)
        page = (HTML, docs_page(models, document).encode())
        pages = {"/openapi.json": (JSON, encode(document)), "/docs": page, "/": page}
        self._served = _Served(models, pages)
        self.recorder.tally.versions = {
            model.name: (model.scorer.model_version, model.scorer.policy_version)
            for model in models.by_name.values()
        }

    def close(self) -> None:
        """Let go of what the models hold: online states and their connections."""
        if self._gate is not None:
            self._gate.close()
        self._admission.close()
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
            await send_refusal(send, refusal)
        except ConnectionResetError:
            trace.status, trace.code = _CLIENT_WENT_AWAY, "client_went_away"
        except Exception as error:  # noqa: BLE001 - logged with what else is known of the request
            trace.error, trace.code = error, internal_error().code
            await send_refusal(send, internal_error())

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, trace: RequestTrace
    ) -> None:
        route = route_of(scope["path"])
        trace.route = route.template
        if scope["method"] not in METHODS[route.method]:
            raise wrong_method(route.method)
        headers: Headers = dict(scope["headers"])
        try:
            caller = self._admitted(route, headers)
        except RequestRefused:
            if scope["method"] == "POST":
                # Who is cut off while it sends does not read why.
                await discard_body(receive)
            raise
        if route.method == "GET":
            content_type, body = await self._page(scope["path"], route, caller)
            await send_whole(send, 200, body, content_type, head_only=scope["method"] == "HEAD")
            return
        model = self._take(route.model)
        try:
            body = await read_json_body(headers, receive)
            finish_stage("receive")
            if route.action == "score/batch":
                rows = parse_batch(body)
                await self._answer_batch(model, rows, send, caller=caller, headers=headers)
            elif route.action == "score":
                await self._answer_row(model, body, send, caller=caller, headers=headers)
            else:
                await self._take_labels(model, body, send, caller=caller, headers=headers)
        finally:
            model.users.give_back()

    def _admitted(self, route: Route, headers: Headers) -> Caller:
        if self._gate is None or route.is_public:
            return ANYBODY
        return self._gate.admit(headers, route.needs, to_auditors=route.to_auditors)

    def _labels_taken(
        self, model: ServedModel, labels: Sequence[ReportedLabel], now: int
    ) -> TakenLabels:
        """Return what became of labels; without a book only the model hears of them."""
        if self.outcomes is None or self.decision_log is None:
            counts = model.report_labels([label.as_report for label in labels])
            return TakenLabels(0, 0, len(labels)) if counts is None else TakenLabels.of(counts)
        contract, secret = model.scorer.bundle.contract, self.decision_log.secret
        return self.outcomes.take(contract, secret, labels, feed=model.report_labels, now=now)

    def _take(self, name: str | None) -> ServedModel:
        """Return a model that stays whole until it is given back, also if it is swapped."""
        while True:
            model = self._served.models.get(name)
            # Otherwise it was swapped and let go between these two lines: its heir is there.
            if model.users.take():
                return model

    async def _answer_row(
        self, model: ServedModel, body: bytes, send: Send, *, caller: Caller, headers: Headers
    ) -> None:
        caller.take_rows(1)
        if self._forced is not None:
            forced = self._forced.find(model.scorer, parse_row(body))
            if forced is not None:
                await send_whole(send, 200, encode(await forced.result()))
                return
        context = _context(caller, headers, self._limits.deadline_seconds)
        self._admission.enter()
        answered = await score_one(model, body, context, self._admission.leave)
        await send_whole(send, 200, answered)

    async def _take_labels(
        self, model: ServedModel, body: bytes, send: Send, *, caller: Caller, headers: Headers
    ) -> None:
        context = _context(caller, headers, self._limits.deadline_seconds)
        act = partial(report_labels, take=self._labels_taken)
        work = self._admission.begin(partial(held, act, model, body, context))
        await send_whole(send, 200, await self._admission.result(work, context.deadline))

    async def _answer_batch(
        self,
        model: ServedModel,
        rows: list[msgspec.Raw],
        send: Send,
        *,
        caller: Caller,
        headers: Headers,
    ) -> None:
        caller.take_rows(len(rows))
        forced = {} if self._forced is None else self._forced.find_all(model.scorer, rows)
        rows = [row for at, row in enumerate(rows) if at not in forced]
        context = _context(caller, headers, self._limits.batch_deadline_seconds)
        trace = context.trace
        work = self._admission.begin(partial(held, score_batch, model, rows, context))
        # A thousand explained rows may take longer than BentoML waits for the first byte: the
        # status is settled here, so it goes out first. The work runs beside the event loop, which
        # meanwhile answers single rows.
        await send_json_start(send)
        try:
            body = await self._admission.result(work, context.deadline)
        except RequestRefused as refusal:
            if trace is not None:
                trace.refused.extend([refusal.code] * len(rows))
            body = encode({"results": [refusal.to_json()] * len(rows)})
        except Exception as error:  # noqa: BLE001 - logged with what else is known of the request
            if trace is not None:
                trace.error, trace.code = error, internal_error().code
            body = encode({"results": [internal_error().to_json()] * len(rows)})
        if forced:
            body = await with_forced(body, forced)
        await send({"type": "http.response.body", "body": body})

    async def _page(self, path: str, route: Route, caller: Caller) -> tuple[bytes, bytes]:
        served = self._served
        if path in served.pages:
            return served.pages[path]
        if route.action == "decision":
            decision_id = path.removeprefix(DECISIONS)
            return JSON, await decision_page(self.decision_log, decision_id)
        if path == "/metrics":
            # Reads a file for each process: beside the event loop.
            return await asyncio.to_thread(self.recorder.published.page)
        models = served.models
        if route.action == "models":
            described = [self._shown(each, caller) for each in models.describe_all()]
            return JSON, encode({"models": described})
        return JSON, encode(self._shown(models.describe(models.get(route.model)), caller))

    def _shown(self, described: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if self._gate is not None:
            described["auth"] = self._gate.mode
        if self._forced is not None:
            described["test_identities"] = True
        if self.decision_log is not None:
            described["decision_log"] = self.decision_log.describe()
        if caller.sees_details:
            return described
        return {name: described[name] for name in _FOR_EVERYBODY if name in described}


# What a key without the scope admin is shown of a model: enough to know what decides.
_FOR_EVERYBODY = (
    "name", "version", "policy_version", "default", "state", "auth", "test_identities",
)  # fmt: skip


def _context(caller: Caller, headers: Headers, seconds: float) -> RequestContext:
    key = headers.get(_IDEMPOTENCY_KEY)
    return RequestContext(
        key_id=caller.key_id,
        idempotency_key=None if key is None else key.decode("latin-1"),
        deadline=time.monotonic() + seconds,
    )
