"""What a request asks of a model once it has been let in: from the body's bytes to the answer's."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from features.online.state import ClockSkewRefused
from serving.answers import Answer, RepeatedAnswer, encode, encode_answer
from serving.label_requests import LabelReader
from serving.refusals import RequestRefused, internal_error
from serving.reported_labels import ReportedLabel, TakenLabels
from serving.request_context import MICROSECONDS_PER_SECOND, RequestContext
from serving.request_trace import RequestTrace, finish_stage
from serving.row_request import Outcome
from serving.served_model import ServedModel

T = TypeVar("T")


def held(
    act: Callable[[ServedModel, T, RequestContext], bytes],
    model: ServedModel,
    asked: T,
    context: RequestContext,
) -> bytes:
    """Act on a thread of its own, which goes on when its request is given up."""
    finish_stage("queue")
    with model.users:
        return act(model, asked, context)


async def score_one(
    model: ServedModel, body: bytes, context: RequestContext, done: Callable[[], None]
) -> bytes:
    """Return the answer to a row as JSON.

    Args:
        model: That decides.
        body: JSON of the row.
        context: Of the request.
        done: Called once no work on the row is left, be the request given up or not.

    Raises:
        RequestRefused: If the row gets none.
    """
    outcome = await model.answer_body(body, context, done)
    if isinstance(outcome, Exception):
        raise outcome
    if context.trace is not None:
        context.trace.answers.append(outcome)
    return encode_answer(outcome)


def report_labels(
    model: ServedModel,
    body: bytes,
    context: RequestContext,
    *,
    take: Callable[[ServedModel, Sequence[ReportedLabel], int], TakenLabels],
) -> bytes:
    """Return what became of reported labels as JSON.

    Args:
        model: That takes them.
        body: JSON.
        context: Of the request.
        take: Hands them, and when they came in, to the model and to the book of outcomes.

    Raises:
        RequestRefused: If one of them is at fault, or the store does not answer.
    """
    reader = LabelReader(model.scorer.bundle.contract)
    arrived = datetime.fromtimestamp(context.received_at / MICROSECONDS_PER_SECOND, UTC)
    labels = reader.read(body, arrived=arrived)
    try:
        return encode(asdict(take(model, labels, context.received_at)))
    except ClockSkewRefused as error:
        raise RequestRefused("clock_skew", str(error), status=400, field="reported_at") from None


def score_batch(model: ServedModel, bodies: list[msgspec.Raw], context: RequestContext) -> bytes:
    """Return the batch's JSON: an answer a row, in order, or the row's error in its place."""
    outcomes = model.answer_bodies(bodies, context)
    return encode({"results": [_in_batch(outcome, context.trace) for outcome in outcomes]})


def _in_batch(outcome: Outcome, trace: RequestTrace | None) -> Any:
    """Return an outcome as it stands in a batch's answer; its trace hears of it."""
    if isinstance(outcome, Answer):
        if trace is not None:
            trace.answers.append(outcome)
        return msgspec.Raw(outcome.content) if isinstance(outcome, RepeatedAnswer) else outcome
    refusal = outcome if isinstance(outcome, RequestRefused) else internal_error()
    if trace is not None:
        trace.refused.append(refusal.code)
        if refusal is not outcome:
            trace.error = outcome
    return refusal.to_json()
