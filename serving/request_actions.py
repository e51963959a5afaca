"""What a request asks of a model once it has been let in: from the body's bytes to the answer's."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec

from features.online.events import LabelReport
from serving.answers import Answer, RepeatedAnswer, encode, encode_answer
from serving.label_requests import LabelReader
from serving.refusals import RequestRefused
from serving.request_context import MICROSECONDS_PER_SECOND, RequestContext
from serving.request_json import parse_row
from serving.request_trace import current_trace, finish_stage
from serving.served_model import ServedModel

Act = Callable[[ServedModel, bytes, RequestContext], bytes]


def held(act: Act, model: ServedModel, body: bytes, context: RequestContext) -> bytes:
    """Act on a thread of its own, which goes on when its request is given up."""
    finish_stage("queue")
    with model.users:
        return act(model, body, context)


def score_one(model: ServedModel, body: bytes, context: RequestContext) -> bytes:
    """Return the answer to a row as JSON.

    Raises:
        RequestRefused: If the row gets none.
    """
    row = parse_row(body)
    finish_stage("parse")
    return _given(model.answer_rows([row], context)[0])


async def score_one_soon(model: ServedModel, body: bytes, context: RequestContext) -> bytes:
    """Return the same as :func:`score_one` without a thread that waits for the log.

    Raises:
        RequestRefused: If the row gets no answer.
    """
    row = parse_row(body)
    finish_stage("parse")
    return _given(await model.answer_row_soon(row, context))


def _given(outcome: Answer | RequestRefused) -> bytes:
    if isinstance(outcome, RequestRefused):
        raise outcome
    trace = current_trace()
    if trace is not None:
        trace.answers.append(outcome)
    return encode_answer(outcome)


def report_labels(
    model: ServedModel,
    body: bytes,
    context: RequestContext,
    *,
    keep: Callable[[ServedModel, Sequence[LabelReport]], None] | None = None,
) -> bytes:
    """Return what became of reported labels as JSON.

    Args:
        model: That takes them.
        body: JSON.
        context: Of the request.
        keep: Writes them down as outcomes, once the model has taken them.

    Raises:
        RequestRefused: If one of them is at fault, or the store does not answer.
    """
    reader = LabelReader(model.scorer.bundle.contract)
    arrived = datetime.fromtimestamp(context.received_at / MICROSECONDS_PER_SECOND, UTC)
    reports = reader.read(body, arrived=arrived)
    counts = model.report_labels(reports)
    if keep is not None:
        keep(model, reports)
    return encode(asdict(counts))


def score_batch_held(
    model: ServedModel, bodies: list[msgspec.Raw], context: RequestContext
) -> bytes:
    """Return a batch's JSON; on a thread that goes on when its request is given up."""
    finish_stage("queue")
    with model.users:
        return _score_batch(model, bodies, context)


def _score_batch(model: ServedModel, bodies: list[msgspec.Raw], context: RequestContext) -> bytes:
    """Return the batch's JSON: an answer a row, in order, or the row's error in its place."""
    results: list[Any] = [_parsed(body) for body in bodies]
    finish_stage("parse")
    sound = [at for at, result in enumerate(results) if not isinstance(result, RequestRefused)]
    outcomes = model.answer_rows([results[at] for at in sound], context, sound)
    for at, outcome in zip(sound, outcomes, strict=True):
        results[at] = outcome
    _trace_rows(results)
    return encode({"results": [_in_batch(result) for result in results]})


def _in_batch(result: Answer | RequestRefused) -> Any:
    if isinstance(result, RequestRefused):
        return result.to_json()
    return msgspec.Raw(result.content) if isinstance(result, RepeatedAnswer) else result


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
