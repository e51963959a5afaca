"""What lies in the bytes of a group comes out again, decision by decision and all at once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from features.contract import parse_contract
from features.feature_set import FeatureSet
from features.vocabulary import Vocabulary
from serving.answers import Answer, AtThisScore, ModelName, encode, new_decision_id
from serving.decisions.chain import verify_groups
from serving.decisions.group_bytes import unpack, unpack_some
from serving.decisions.group_writer import Entry, GroupWriter
from serving.decisions.layout import RecordLayout, opened
from serving.decisions.record import Draft
from serving.decisions.sealing import LogSecret
from serving.decisions.sqlite_store import SqliteStore
from serving.decisions.store import LogMismatch
from serving.request_context import RequestContext
from serving.scored import ScoredRow

SECRET = LogSecret(bytes(range(32)))
ROW: dict[str, Any] = {
    "ORDER_ID": "7", "PLACED_AT": datetime(2026, 3, 1, 12, tzinfo=UTC), "AMOUNT": 100.0,
    "CUSTOMER": "5", "AGE_DAYS": 0.0, "DISTANCE": 1.5, "COUNTRY": "DE", "DEVICE": "1",
}  # fmt: skip


def layout_of(contract: dict[str, Any], **columns: Any) -> RecordLayout:
    """The layout of a shop with some columns changed."""
    changed = contract | {"columns": contract["columns"] | columns, "expectations": {}}
    resolved = parse_contract(changed, source="tests")
    known = {name: Vocabulary(("1", "DE")) for name in resolved.columns.categorical}
    numeric = ("AMOUNT", *resolved.columns.numeric)
    features = FeatureSet(resolved, numeric, tuple(known), known)
    return RecordLayout(resolved, features, model_version="3", policy_version="2", secret=SECRET)


def entry_of(layout: RecordLayout, row: dict[str, Any]) -> Entry:
    """A decision of a row."""
    row_id = row.get("ORDER_ID")
    model = ModelName(layout.model, "3", "2")
    given = Answer(
        new_decision_id(), row_id, 0.25, "approve", (), (), AtThisScore(0.5, None), model
    )
    scored = ScoredRow(
        row_id, 0.25, "approve", (), (), 0.5, None, (-0.5, 0.5), b"\0" * 12, b"\0" * 16
    )
    identity = layout.identity(row, RequestContext(), None)
    return Entry(Draft(identity, 1_000, "till", row, scored, given, {"model": 20}), layout)


@pytest.fixture
def new_writer(tmp_path: Any) -> Callable[[], GroupWriter]:
    def make() -> GroupWriter:
        store = SqliteStore(tmp_path / "log.db", SECRET.fingerprint)
        return GroupWriter(store, SECRET, retention_seconds=60)

    return make


def test_decisions_of_two_models_lie_in_their_order_in_one_group(
    shop_contract: dict[str, Any], new_writer: Callable[[], GroupWriter], tmp_path: Any
) -> None:
    shop = layout_of(shop_contract)
    outlet = layout_of(shop_contract | {"name": "outlet"}, entities=[])
    entries = [
        entry_of(layout, {name: row[name] for name in row if layout is shop or name != "CUSTOMER"})
        for layout, row in (
            (shop, ROW | {"ORDER_ID": "1"}),
            (outlet, ROW | {"ORDER_ID": "2"}),
            (shop, ROW | {"ORDER_ID": "3", "DISTANCE": None}),
        )
    ]

    verdicts = new_writer().commit(entries, [])

    store = SqliteStore(tmp_path / "log.db", SECRET.fingerprint)
    (group,) = store.groups()
    records = unpack(group.records)
    assert [verdict.sequence for verdict in verdicts] == [1, 2, 3]
    assert [record.sequence for record in records] == [1, 2, 3]
    assert [record.model for record in records] == ["shop", "outlet", "shop"]
    assert [(r.model_version, r.policy_version) for r in records] == [("3", "2")] * 3
    assert [record.answer for record in records] == [encode(e.draft.answer) for e in entries]
    assert [record.decision_id for record in unpack_some(group.records, [2, 0])] == [
        entries[2].draft.answer.decision_id, entries[0].draft.answer.decision_id
    ]  # fmt: skip
    keys = store.subject_keys([record.subject for record in records if record.subject])
    for record, entry in zip(records, entries, strict=True):
        assert record == unpack_some(group.records, [record.sequence - 1])[0]
        assert opened(record, keys.get(record.subject or b""), SECRET) == entry.draft.row
        assert record.event_time == 1_772_366_400_000_000
        assert record.entities.keys() == ({"CUSTOMER"} if record.model == "shop" else set())
    assert verify_groups([group]) == {group.writer_id: 3}
    store.close()


def test_a_batch_that_comes_again_is_found_with_one_look_at_its_group(
    shop_contract: dict[str, Any], new_writer: Callable[[], GroupWriter]
) -> None:
    layout, writer = layout_of(shop_contract), new_writer()
    first = [entry_of(layout, ROW | {"ORDER_ID": str(number)}) for number in range(50)]
    writer.commit(first, [])
    statements: list[str] = []
    writer._store._writer.set_trace_callback(statements.append)  # type: ignore[attr-defined]

    verdicts = writer.commit(
        [entry_of(layout, each.draft.row) for each in first]
        + [entry_of(layout, ROW | {"ORDER_ID": "50"})],
        [],
    )

    *repeated, new = verdicts
    found = [verdict.earlier.stored.decision_id for verdict in repeated if verdict.earlier]
    assert found == [each.draft.answer.decision_id for each in first]
    assert (new.sequence, new.earlier) == (51, None)
    assert sum("SELECT records FROM log_group" in each for each in statements) == 1


def test_a_column_that_is_not_given_changes_no_content(shop_contract: dict[str, Any]) -> None:
    columns = shop_contract["columns"]
    older = layout_of(shop_contract, numeric=["AGE_DAYS"], optional=["DEVICE"])
    newer = layout_of(shop_contract, numeric=["DISTANCE", "AGE_DAYS"], optional=columns["optional"])
    row = {name: value for name, value in ROW.items() if name != "DISTANCE"}
    contexts = RequestContext(), None

    before = older.identity(row, *contexts)
    after = newer.identity(row | {"DISTANCE": None}, *contexts)
    zero = newer.identity(row | {"DISTANCE": 0.0}, *contexts)
    elsewhere = newer.identity(row | {"DISTANCE": None, "AGE_DAYS": None}, *contexts)

    assert (before.key, before.content) == (after.key, after.content)
    assert len({after.content, zero.content, elsewhere.content}) == 3


def test_rows_of_a_contract_without_entities_are_packed_once(shop_contract: dict[str, Any]) -> None:
    row = {name: value for name, value in ROW.items() if name != "CUSTOMER"}
    public, private = (layout_of(shop_contract, entities=[], pii=pii) for pii in ([], ["COUNTRY"]))

    packed, sealed = (each.identity(row, RequestContext(), None) for each in (public, private))

    assert msgspec.msgpack.decode(packed.packed) == [row[name] for name in sorted(row)]
    assert sealed.packed == b"", "what is personal is not kept in the clear beside the row"


def test_a_kept_decision_is_written_as_it_was_answered(
    shop_contract: dict[str, Any], new_writer: Callable[[], GroupWriter]
) -> None:
    entry = entry_of(layout_of(shop_contract), ROW)
    degraded = msgspec.structs.replace(entry.draft.answer, degraded=True)
    writer = new_writer()

    writer.commit([replace(entry, draft=replace(entry.draft, answer=degraded))], [])

    (group,) = writer._store.groups()
    (record,) = group.decoded()
    assert (record.is_degraded, record.answer) == (True, encode(degraded))


def test_a_log_of_an_older_format_is_refused(tmp_path: Any) -> None:
    import sqlite3

    SqliteStore(tmp_path / "log.db", SECRET.fingerprint).close()
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.execute("UPDATE log_about SET value = '1' WHERE name = 'format'")
    connection.commit()
    connection.close()

    with pytest.raises(LogMismatch, match="has format 1, this release writes 2"):
        SqliteStore(tmp_path / "log.db", SECRET.fingerprint)
