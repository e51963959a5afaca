"""Alerts: rows that were not approved and of which nobody has said yet what they were."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

import msgspec

from balancing.calibration.thresholds import DECISION_NAMES
from features.online.events import microseconds_of, moment_of
from serving.decisions.export import decisions_of
from serving.decisions.record import DecisionRecord
from serving.decisions.store import DecisionStore

_APPROVED = DECISION_NAMES[0]


class Alert(msgspec.Struct, frozen=True):
    """What an analyst gets of a decision; nothing of it is personal.

    Attributes:
        decision_id: As in the answer.
        id: Of the row; a pseudonym where ids are personal, None where the contract has none.
        received_at: When the row arrived (UTC).
        event_time: When it happened (UTC); None where that is not known or personal.
        model: Its name.
        model_version: That scored.
        policy_version: That decided.
        risk_score: In [0, 1].
        decision: ``review`` or ``decline``.
        reasons: Their texts.
        flags: As in the answer.
        entities: Pseudonym of each entity, by column: equal ones are the same customer.
    """

    decision_id: str
    id: str | None
    received_at: datetime
    event_time: datetime | None
    model: str
    model_version: str
    policy_version: str
    risk_score: float
    decision: str
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    entities: dict[str, str]


def open_alerts(
    store: DecisionStore,
    has_outcome: Callable[[str, str], bool],
    *,
    model: str | None = None,
    since: datetime | None = None,
) -> Iterator[Alert]:
    """Yield the open alerts of a decision log, each writer's in order.

    Args:
        store: The log's database.
        has_outcome: Whether the row of a model with this id, or decision id, has an outcome.
        model: Of this model only.
        since: Received from then on.

    Raises:
        LogUnreachable: If the log does not answer.
    """
    for record in decisions(store, model=model, since=since):
        stored = record.stored
        ids = (stored.decision_id, stored.transaction_id)
        if any(each is not None and has_outcome(stored.model, each) for each in ids):
            continue
        if is_alert(record):
            yield _alert(record)


def decisions(
    store: DecisionStore, *, model: str | None = None, since: datetime | None = None
) -> Iterator[DecisionRecord]:
    """Yield what a log holds of a model, received from a moment on.

    Raises:
        LogUnreachable: If the log does not answer.
    """
    # A group is committed after what it holds was received; clocks may differ by less than a day.
    first = None if since is None else (since - timedelta(days=1)).date().isoformat()
    begin = None if since is None else microseconds_of(since)
    for record in decisions_of(store.groups(first_segment=first), {}):
        stored = record.stored
        if model in (None, stored.model) and (begin is None or stored.received_at >= begin):
            yield record


def is_alert(record: DecisionRecord) -> bool:
    """Return whether somebody has to look at a decision."""
    return record.answer.decision != _APPROVED


def encode_lines(alerts: Iterable[Alert]) -> bytes:
    """Return alerts as JSON, one a line."""
    return b"".join(msgspec.json.encode(alert) + b"\n" for alert in alerts)


def _alert(record: DecisionRecord) -> Alert:
    stored, answer = record.stored, record.answer
    return Alert(
        decision_id=stored.decision_id,
        id=stored.transaction_id,
        received_at=moment_of(stored.received_at),
        event_time=None if stored.event_time is None else moment_of(stored.event_time),
        model=stored.model,
        model_version=stored.model_version,
        policy_version=stored.policy_version,
        risk_score=answer.risk_score,
        decision=answer.decision,
        reasons=tuple(reason.text for reason in answer.reasons),
        flags=answer.flags,
        entities={name: value.hex() for name, value in stored.entities.items()},
    )
