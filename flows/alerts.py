"""Alerts out to whoever works them, and what they turned out to be, back in."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from features.contract import Contract
from features.ingestion.conforming import as_text
from features.ingestion.tables import read_table
from features.online.events import LabelReport, microseconds_of
from features.online.opening import open_state
from flows.labels import LeftOut, label_reports, listed
from infra.settings import Settings
from infra.storage import write_atomically
from serving.alert_webhook import Webhook
from serving.alerts import Alert, decisions, encode_lines, is_alert, open_alerts
from serving.decisions.layout import logged_id, opened
from serving.decisions.opening import open_store
from serving.decisions.record import DecisionRecord, StoredRecord
from serving.decisions.sealing import LogSecret, Unreadable, read_log_secret
from serving.decisions.store import DecisionStore
from serving.model_references import UnknownModel
from serving.model_store import ModelStore
from serving.outcomes import OutcomeBook
from serving.reported_labels import Outcome

AlertFormat = Literal["csv", "jsonl"]

_MOMENT = pl.Datetime("us", "UTC")
_COLUMNS: dict[str, Any] = {
    "decision_id": pl.String, "id": pl.String, "received_at": _MOMENT, "event_time": _MOMENT,
    "model": pl.String, "model_version": pl.String, "policy_version": pl.String,
    "risk_score": pl.Float64, "decision": pl.String, "reasons": pl.String, "flags": pl.String,
    "entities": pl.String, "label": pl.Int8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImportedOutcomes:
    """What became of a file of outcomes.

    Attributes:
        name: The model that decided.
        read: Rows of the file.
        left_out: Rows without an id or a label.
        accepted: They changed what is recorded.
        duplicates: The same report, or a later one, was recorded before.
        closed: Open alerts that are closed now.
        unknown: Ids of which the log holds no decision, in order; nothing is recorded of them.
    """

    name: str
    read: int
    left_out: tuple[LeftOut, ...]
    accepted: int
    duplicates: int
    closed: int
    unknown: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object; the rows left out counted, and listed."""
        return asdict(self) | listed(self.left_out)


def check_model(settings: Settings, name: str) -> None:
    """Refuse what is not the name of a model.

    Raises:
        UnknownModel: If no model was ever released under that name; says which were.
    """
    names = ModelStore.open(settings).names()
    if name not in names:
        known = ", ".join(names) or "none yet: whitecrow train makes one"
        raise UnknownModel(f"No model {name!r} in {settings.root} (there are: {known}).")


def list_alerts(
    settings: Settings, *, model: str | None = None, since: datetime | None = None
) -> list[Alert]:
    """Return the open alerts, the oldest first.

    Raises:
        LogUnreachable: If the decision log does not answer.
    """
    book = OutcomeBook(settings.root)
    known: dict[str, frozenset[str]] = {}

    def has_outcome(name: str, row_id: str) -> bool:
        if name not in known:
            known[name] = book.known(name)
        return row_id in known[name]

    store = open_store(settings)
    try:
        found = list(open_alerts(store, has_outcome, model=model, since=since))
    finally:
        store.close()
    # Stable: rows of one request stay in its order.
    return sorted(found, key=lambda alert: alert.received_at)


def alerts_text(alerts: Iterable[Alert], kind: AlertFormat) -> str:
    """Return alerts as CSV, with an empty column ``label`` to fill in, or as JSON lines."""
    if kind == "jsonl":
        return encode_lines(alerts).decode()
    rows = [
        {
            **{name: getattr(alert, name) for name in list(_COLUMNS)[:9]},
            "reasons": "; ".join(alert.reasons),
            "flags": " ".join(alert.flags),
            "entities": " ".join(f"{name}={value}" for name, value in alert.entities.items()),
        }
        for alert in alerts
    ]
    return pl.DataFrame(rows, schema=_COLUMNS).write_csv(datetime_format="%+")


def write_alerts(alerts: Iterable[Alert], kind: AlertFormat, out: Path) -> None:
    """Write alerts to a file, whole or not at all."""
    with write_atomically(out) as staging:
        staging.write_text(alerts_text(alerts, kind), "utf-8")


def send_alerts(settings: Settings, alerts: Iterable[Alert], url: str) -> int:
    """Deliver alerts to a webhook that has not taken them yet, and return how many.

    Raises:
        WebhookUnusable: If the address is none, or there is no secret.
        WebhookRefused: If it does not take them.
    """
    return Webhook(url, settings.webhook_secret, OutcomeBook(settings.root)).deliver(alerts)


def import_outcomes(settings: Settings, source: str, reference: str) -> ImportedOutcomes:
    """Take outcomes back: they close alerts, and reach the features that look back at labels.

    Columns are those of ``whitecrow labels import``; where a row has no id, ``decision_id`` counts.

    Raises:
        DataError: If a column is missing or holds something else.
        LogUnreachable: If the decision log does not answer.
        StateUnreachable: If the online state does not answer; nothing is recorded then.
    """
    model_store = ModelStore.open(settings)
    resolved = model_store.resolve(reference)
    contract = model_store.bundle(resolved.name, resolved.model_version).contract
    table, arrived = _with_ids(read_table(source), contract), datetime.now(UTC)
    found = label_reports(table, contract, arrived=arrived)
    secret = read_log_secret(settings.keys, settings.log_secret)
    book = OutcomeBook(settings.root)
    before = book.outcomes(contract.name)
    store = open_store(settings, secret)
    try:
        decided = _decided(store, set(found.reports["id"]), contract, secret)
        known = [
            (decided[row["id"]], _outcome(decided[row["id"]], row, before))
            for row in found.reports.iter_rows(named=True)
            if row["id"] in decided
        ]
        if contract.velocity_features:
            _report(settings, contract, store, secret, known)
    finally:
        store.close()
    outcomes = [outcome for _, outcome in known]
    taken = book.record(contract.name, outcomes, now=microseconds_of(arrived))
    closed = {outcome.id for outcome in outcomes} - before.keys()
    alerted = {_name(each) for each in decided.values() if is_alert(each)}
    unknown = dict.fromkeys(row_id for row_id in found.reports["id"] if row_id not in decided)
    return ImportedOutcomes(
        name=resolved.name,
        read=table.height,
        left_out=found.left_out,
        accepted=taken.accepted,
        duplicates=taken.duplicates,
        closed=len(closed & alerted),
        unknown=tuple(unknown),
    )


def _outcome(
    record: DecisionRecord, row: Mapping[str, Any], before: Mapping[str, Outcome]
) -> Outcome:
    """Return what became of a decided row; said again without a moment it is as old as before."""
    name = _name(record)
    earlier = before.get(name)
    is_said_again = not row["is_dated"] and earlier is not None and earlier.label == row["label"]
    moment = (
        earlier.reported_at if is_said_again and earlier else microseconds_of(row["reported_at"])
    )
    return Outcome(name, row["label"], moment, row["source"])


def _with_ids(table: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return the table with ``id`` filled up from ``decision_id``, where it has that column."""
    if "decision_id" not in table.columns:
        return table
    names = [name for name in (contract.columns.id, "id") if name in table.columns]
    fallback = as_text(table["decision_id"])
    if not names:
        return table.with_columns(fallback.alias("id"))
    ids = as_text(table[str(names[0])])
    return table.with_columns(ids.zip_with(ids.is_not_null(), fallback).alias(str(names[0])))


def _decided(
    store: DecisionStore, wanted: set[str], contract: Contract, secret: LogSecret
) -> dict[str, DecisionRecord]:
    """Return decisions by the ids that a person knows them by: the row's, or the decision's."""
    by_logged_id = {logged_id(contract, secret, each): each for each in wanted}
    found: dict[str, DecisionRecord] = {}
    for record in decisions(store, model=contract.name):
        stored = record.stored
        for name in (stored.decision_id, stored.transaction_id):
            if name in wanted or name in by_logged_id:
                found[name if name in wanted else by_logged_id[str(name)]] = record
    return found


def _report(
    settings: Settings,
    contract: Contract,
    store: DecisionStore,
    secret: LogSecret,
    known: list[tuple[DecisionRecord, Outcome]],
) -> None:
    reports = [
        LabelReport(event_id, outcome.label, outcome.reported_at)
        for record, outcome in known
        for event_id in _event_ids(record.stored, contract, store, secret)
    ]
    if not reports:
        return
    state = open_state(contract, settings.state_uri, folder=settings.state_folder)
    try:
        state.report_labels(reports)
    finally:
        state.close()


def _event_ids(
    stored: StoredRecord, contract: Contract, store: DecisionStore, secret: LogSecret
) -> Iterator[str]:
    """Yield what the online state calls a row; nothing where its subject was erased."""
    column = contract.columns.id
    if column is None:
        yield stored.decision_id
        return
    wrapped = store.subject_keys([stored.subject]) if stored.subject is not None else {}
    try:
        yield str(opened(stored, next(iter(wrapped.values()), None), secret)[column])
    except Unreadable:
        return


def _name(record: DecisionRecord) -> str:
    return record.stored.transaction_id or record.stored.decision_id
