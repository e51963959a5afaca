"""Decided rows become a table: which ones, with which labels, and what stays hidden."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from features.contract import parse_contract
from features.online.events import microseconds_of
from features.served_table import description_of
from flows.cli import app
from flows.datasets.building import BuiltDataset, EmptyDataset, build_dataset, summary
from flows.datasets.description import UndescribableContract, check_columns
from flows.datasets.knowledge import label_values
from flows.datasets.request import DatasetRequest, dataset_request
from flows.moments import RequestError
from infra.ledger import Ledger
from infra.settings import Settings
from infra.storage import sha256_file
from serving.decisions.export import decisions_of
from serving.decisions.opening import open_recording, open_store
from serving.decisions.record import DecisionRecord
from serving.decisions.sealing import read_log_secret
from serving.model_references import UnknownModel
from serving.outcomes import OutcomeBook
from serving.refusals import RequestRefused
from serving.reported_labels import ReportedLabel
from serving.served_models import ModelSource
from tests.serving.conftest import CORNER, ROW, SHOP, make_home

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 6, 1, tzinfo=UTC)

Serve = Callable[..., list[Any]]
Build = Callable[..., BuiltDataset]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def answered(
    settings: Settings, rows: Sequence[dict[str, Any]], contract: dict[str, Any] = CORNER
) -> list[Any]:
    """Score rows one by one, as a service does that is started for it and stopped."""
    name = contract["name"]
    if not (settings.root / "models" / name).exists():
        make_home(settings.root, contract=contract)
    recording = open_recording(settings)
    models = ModelSource(settings.root, [name], recording=recording).load_all()
    try:
        answers = [models.get(None).answer_rows([ROW | row])[0] for row in rows]
    finally:
        models.close()
        recording.log.close()
    refused = [answer for answer in answers if isinstance(answer, RequestRefused)]
    assert refused == []
    return answers


def reported(
    settings: Settings, *labels: tuple[Any, int, datetime], contract: dict[str, Any] = CORNER
) -> None:
    """Report labels, as a file or a request would."""
    taken = [ReportedLabel(str(name), label, microseconds_of(at)) for name, label, at in labels]
    OutcomeBook(settings.root).take(
        parse_contract(contract, source="tests"),
        read_log_secret(settings.keys),
        taken,
        feed=lambda _: None,
        now=microseconds_of(datetime.now(UTC)),
    )


@pytest.fixture
def build(settings: Settings, tmp_path: Path) -> Build:
    """Builds a table as of some months later; ``frame`` reads it."""

    def built(name: str = "corner", **asked: Any) -> BuiltDataset:
        out = tmp_path / "out" / "dataset.parquet"
        request = DatasetRequest(
            **{"name": name, "out": out, "as_of": LATER, "actor": "ann", "reason": "test"} | asked
        )
        return build_dataset(settings, request)

    return built


def frame(built: BuiltDataset) -> pl.DataFrame:
    return pl.read_parquet(built.file)


def records(settings: Settings) -> list[DecisionRecord]:
    store = open_store(settings)
    try:
        return list(decisions_of(store.groups(), store.feature_names()))
    finally:
        store.close()


def at(hours: float) -> str:
    return (NOON + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def orders(n: int, **more: Any) -> list[dict[str, Any]]:
    """Orders 1 to n of one customer, an hour apart, of 10, 20, ... euros."""
    return [
        {"ORDER_ID": k, "PLACED_AT": at(k), "AMOUNT": 10.0 * k, "CUSTOMER": 5} | more
        for k in range(1, n + 1)
    ]


def test_decided_rows_come_out_with_labels_and_the_features_that_were_served(
    settings: Settings, build: Build
) -> None:
    answers = answered(settings, orders(3))
    reported(settings, (2, 1, NOON + timedelta(days=9)))

    built = build()

    table = frame(built)
    assert table["ORDER_ID"].to_list() == ["1", "2", "3"]
    assert table["AMOUNT"].to_list() == [10.0, 20.0, 30.0]
    assert table["PLACED_AT"].to_list() == [NOON + timedelta(hours=k) for k in (1, 2, 3)]
    assert table["IS_FRAUD"].to_list() == [0, 1, 0]
    assert table["CUSTOMER_count_1d"].to_list() == [0.0, 1.0, 2.0]
    assert table["CUSTOMER_amount_sum_1d"].to_list() == [0.0, 10.0, 30.0]
    assert table["decision_id"].to_list() == [each.decision_id for each in answers]
    assert table["risk_score"].to_list() == [each.risk_score for each in answers]
    told = table.select("decision", "model_version", "policy_version", "explored").unique()
    assert told.rows() == [("approve", "1", "1", False)]
    assert (built.coverage.kept, built.coverage.kept_positives, built.coverage.decided) == (3, 1, 3)


def test_served_features_are_those_of_the_log_to_the_last_bit(
    settings: Settings, build: Build
) -> None:
    answered(settings, [*orders(4, AMOUNT=33.3), {"ORDER_ID": 9, "CUSTOMER": 8}])
    names = description_of(build().file).served  # type: ignore[union-attr]

    table = frame(build())
    by_id = {each.stored.transaction_id: each for each in records(settings)}
    for row in table.iter_rows(named=True):
        record = by_id[row["ORDER_ID"]]
        numeric = np.frombuffer(record.stored.numeric, dtype="<f4")
        assert record.features is not None
        place = [record.features.numeric.index(name) for name in names]
        found = np.array([row[name] for name in names], dtype=np.float64).astype("<f4")
        assert np.array_equal(found, numeric[place], equal_nan=True)


def test_entities_are_pseudonyms_of_the_log_and_nothing_tells_them(
    settings: Settings, build: Build
) -> None:
    answered(settings, [{"ORDER_ID": 1, "CUSTOMER": "C-4711-X"}, {"ORDER_ID": 2, "CUSTOMER": "D"}])
    built = build()

    (first, second) = frame(built)["CUSTOMER"]
    secret = read_log_secret(settings.keys)
    assert first == secret.pseudonym("CUSTOMER", "C-4711-X").hex() != second
    assert b"4711" not in built.file.read_bytes()
    assert built.description.hidden == ("CUSTOMER",)


def test_the_file_says_what_it_is_and_the_ledger_has_its_hash(
    settings: Settings, build: Build
) -> None:
    answered(settings, orders(2))

    built = build(since=NOON)

    told = description_of(built.file)
    assert told == built.description
    assert told is not None
    assert (told.model, told.contract, told.since, told.as_of) == ("corner", "corner", NOON, LATER)
    assert told.served == (
        "CUSTOMER_count_1d", "CUSTOMER_amount_sum_1d", "CUSTOMER_label_rate_7d",
        "CUSTOMER_label_count_7d",
    )  # fmt: skip
    assert told.input_types["CUSTOMER"] == "integer"
    (entry,) = [e for e in Ledger(settings.database).entries() if e.event == "dataset_built"]
    assert entry.details["sha256"] == sha256_file(built.file) == built.sha256
    assert (entry.subject, entry.actor, entry.reason) == ("corner", "ann", "test")
    assert entry.details["rows"] == 2


def test_a_label_counts_from_its_report_on_and_its_absence_from_the_delay_on(
    settings: Settings, build: Build
) -> None:
    answered(settings, [*orders(2), {"ORDER_ID": 3, "PLACED_AT": at(60)}])
    reported(
        settings, (1, 1, NOON + timedelta(days=2)), (1, 0, NOON + timedelta(days=4)),
        (3, 1, NOON + timedelta(hours=61)),
    )  # fmt: skip

    def labels(days: float) -> dict[str, int]:
        table = frame(build(as_of=NOON + timedelta(days=days)))
        return dict(table.select("ORDER_ID", "IS_FRAUD").iter_rows())

    assert labels(1.05) == {"1": 0}, "the second has its delay of a day not over"
    assert labels(1.5) == {"1": 0, "2": 0}
    assert labels(2) == {"1": 1, "2": 0}
    assert labels(3) == {"1": 1, "2": 0, "3": 1}, "the third was reported before its delay"
    assert labels(4) == {"1": 0, "2": 0, "3": 1}
    coverage = build(as_of=NOON + timedelta(hours=60)).coverage
    assert (coverage.decided, coverage.left_out["immature"]) == (3, 1)


def test_where_absence_says_nothing_only_reports_do(settings: Settings, build: Build) -> None:
    unknown = CORNER | {"label": CORNER["label"] | {"absent_means": "unknown"}}
    answered(settings, orders(3), unknown)
    reported(settings, (2, 0, NOON + timedelta(days=3)), contract=unknown)

    built = build()

    assert frame(built)["ORDER_ID"].to_list() == ["2"]
    assert built.coverage.left_out["unlabelled"] == 2


def test_a_declined_row_has_no_label_but_a_reported_one(settings: Settings, build: Build) -> None:
    answers = answered(settings, [
        {"ORDER_ID": 1, "AMOUNT": 900.0, "CUSTOMER": 1},
        {"ORDER_ID": 2, "AMOUNT": 900.0, "CUSTOMER": 2},
        {"ORDER_ID": 3, "AMOUNT": 10.0, "CUSTOMER": 3},
    ])  # fmt: skip
    assert [each.decision for each in answers] == ["decline", "decline", "approve"]
    reported(settings, (2, 1, NOON + timedelta(days=3)))

    built = build()

    assert frame(built)["ORDER_ID"].to_list() == ["2", "3"]
    told = built.to_json()
    assert (told["declined"], told["declined_rows"], told["left_out_declined"]) == (2, 1, 1)
    assert (told["share_of_declined"], told["share_of_decided"]) == (0.5, 2 / 3)
    assert "Declined: 2, of which 1 have a label (50.0%)" in summary(built)


def test_the_window_holds_its_beginning_and_not_its_end(settings: Settings, build: Build) -> None:
    answered(settings, orders(5))

    def ids(**window: datetime) -> list[str]:
        return frame(build(**window))["ORDER_ID"].to_list()

    assert ids(since=NOON + timedelta(hours=2)) == ["2", "3", "4", "5"]
    assert ids(until=NOON + timedelta(hours=2)) == ["1"]
    assert ids(since=NOON + timedelta(hours=2), until=NOON + timedelta(hours=4)) == ["2", "3"]
    assert ids(as_of=NOON + timedelta(hours=27)) == ["1", "2", "3"]


def test_rows_stand_in_the_order_of_time_however_they_came(
    settings: Settings, build: Build
) -> None:
    days = [{"ORDER_ID": k, "PLACED_AT": at(24 * k)} for k in (9, 3, 7, 1)]
    answered(settings, [*days, {"ORDER_ID": 8, "PLACED_AT": at(24 * 3 - 1)}])

    assert frame(build())["ORDER_ID"].to_list() == ["1", "8", "3", "7", "9"]


def test_rows_of_other_models_are_not_taken(settings: Settings, build: Build) -> None:
    answered(settings, orders(2))
    answered(settings, orders(3), SHOP)

    reported(settings, (3, 1, LATER), contract=SHOP)

    assert build().coverage.decided == 2
    assert (shop := build("shop")).coverage.decided == 3
    assert frame(shop)["ORDER_ID"].to_list() == ["3"]
    assert shop.description.served == ()


def test_an_id_that_was_decided_again_counts_once(settings: Settings, build: Build) -> None:
    hasty = settings.model_copy(update={"idempotency_days": 1e-9})
    first, again = (answered(hasty, orders(1))[0] for _ in range(2))
    assert first.decision_id != again.decision_id

    built = build()

    assert frame(built)["decision_id"].to_list() == [first.decision_id]
    assert built.coverage.left_out["repeated"] == 1


def test_rows_without_an_id_are_known_by_their_decision(settings: Settings, build: Build) -> None:
    columns = {k: v for k, v in CORNER["columns"].items() if k != "id"}
    nameless = CORNER | {"columns": columns, "expectations": {}}
    rows = [{"ORDER_ID": 0} | row for row in orders(2)]
    for row in rows:
        del row["ORDER_ID"]
    plain = {k: v for k, v in ROW.items() if k != "ORDER_ID"}
    make_home(settings.root, contract=nameless)
    recording = open_recording(settings)
    models = ModelSource(settings.root, ["corner"], recording=recording).load_all()
    answers = [models.get(None).answer_rows([plain | row])[0] for row in rows]
    models.close()
    recording.log.close()
    reported(settings, (answers[1].decision_id, 1, NOON + timedelta(days=3)), contract=nameless)

    table = frame(build())

    assert table["IS_FRAUD"].to_list() == [0, 1]
    assert "ORDER_ID" not in table.columns


def test_what_was_served_with_other_features_is_left_out(settings: Settings, build: Build) -> None:
    answered(settings, orders(2))
    velocity = [{"entity": "CUSTOMER", "windows": ["1d"], "aggregates": ["count"]}]
    make_home(settings.root, contract=CORNER | {"velocity": velocity}, version="2")
    answered(settings, [{"ORDER_ID": 7, "PLACED_AT": at(7)}])

    built = build()

    assert built.model_version == "2"
    assert frame(built)["ORDER_ID"].to_list() == ["7"]
    assert built.coverage.left_out["other_features"] == 2
    assert frame(build("corner:1"))["ORDER_ID"].to_list() == ["1", "2"]


PERSONAL = CORNER | {
    "columns": CORNER["columns"] | {"pii": ["ORDER_ID", "AGE_DAYS"]},
    "expectations": {"ORDER_ID": {"pattern": "^[0-9]+$"}},
}


def test_personal_columns_are_opened_only_where_a_feature_is_made_of_them(
    settings: Settings, build: Build
) -> None:
    answered(settings, [{"ORDER_ID": 4711, "AGE_DAYS": 77}], PERSONAL)
    reported(settings, (4711, 1, NOON + timedelta(days=3)), contract=PERSONAL)

    built = build()

    (row,) = frame(built).iter_rows(named=True)
    secret = read_log_secret(settings.keys)
    assert row["ORDER_ID"] == secret.pseudonym("ORDER_ID", "4711").hex()
    assert (row["AGE_DAYS"], row["IS_FRAUD"]) == (77.0, 1)
    assert built.description.hidden == ("ORDER_ID", "CUSTOMER")


def test_what_is_personal_of_an_erased_row_is_gone(settings: Settings, build: Build) -> None:
    answered(settings, [{"ORDER_ID": k, "CUSTOMER": k, "AGE_DAYS": 77} for k in (1, 2)], PERSONAL)
    store = open_store(settings)
    assert store.destroy_key(read_log_secret(settings.keys).pseudonym("CUSTOMER", "2"))
    store.close()

    built = build()

    assert frame(built)["AGE_DAYS"].to_list() == [77.0, None]
    assert frame(built)["CUSTOMER"].null_count() == 0
    assert built.coverage.erased == 1
    assert "Of 1 rows nobody can read what is personal any more" in summary(built)


def test_a_row_whose_served_features_were_erased_is_left_out(
    settings: Settings, build: Build
) -> None:
    velocity = [{"entity": "CUSTOMER", "windows": ["1d"], "aggregates": ["amount_sum"]}]
    columns = CORNER["columns"] | {"pii": ["AMOUNT"]}
    sealed = CORNER | {"columns": columns, "velocity": velocity}
    rows = [{"ORDER_ID": k, "CUSTOMER": k % 2, "PLACED_AT": at(k)} for k in range(1, 5)]
    answered(settings, rows, sealed)
    store = open_store(settings)
    assert store.destroy_key(read_log_secret(settings.keys).pseudonym("CUSTOMER", "1"))
    store.close()

    built = build()

    assert frame(built)["ORDER_ID"].to_list() == ["2", "4"]
    assert frame(built)["CUSTOMER_amount_sum_1d"].to_list() == [0.0, 100.0]
    assert built.coverage.left_out["unreadable"] == 2


def test_how_much_of_the_log_was_read_is_told(settings: Settings, build: Build) -> None:
    answered(settings, orders(3))
    told: list[tuple[int, int]] = []
    asked = DatasetRequest(
        name="corner", out=settings.root.parent / "d.parquet", as_of=LATER, actor="ann"
    )

    build_dataset(settings, asked, on_progress=lambda done, total: told.append((done, total)))

    assert told[-1] == (3, 3)


def test_nothing_known_is_a_refusal_that_leaves_nothing(settings: Settings, build: Build) -> None:
    answered(settings, orders(3))

    with pytest.raises(EmptyDataset, match=r"3 decisions .* \(3 without a label yet\)"):
        build(as_of=NOON + timedelta(hours=5))
    with pytest.raises(EmptyDataset, match="holds 0 decisions of that window"):
        build(since=LATER - timedelta(days=1))
    out = settings.root.parent / "out"
    assert list(out.iterdir()) == []
    assert [e for e in Ledger(settings.database).entries() if e.event == "dataset_built"] == []


def test_a_failure_in_the_middle_leaves_the_table_that_was_there(
    settings: Settings, build: Build
) -> None:
    answered(settings, orders(3))
    before = build().file.read_bytes()

    with pytest.raises(EmptyDataset):
        build(as_of=NOON)
    assert build().file.read_bytes() == before
    assert [file.name for file in (settings.root.parent / "out").iterdir()] == ["dataset.parquet"]


def test_a_degraded_row_is_left_out(settings: Settings, build: Build) -> None:
    answered(settings, orders(1))
    recording = open_recording(settings)
    models = ModelSource(settings.root, ["corner"], recording=recording).load_all()
    path = models.get(None).path
    assert path is not None
    path.link.ask(lambda state: state.close())
    (answer,) = models.get(None).answer_rows([ROW | {"ORDER_ID": 2}])
    assert answer.degraded
    recording.log.close()

    built = build()

    assert frame(built)["ORDER_ID"].to_list() == ["1"]
    assert built.coverage.left_out["degraded"] == 1


@pytest.fixture
def server_log(postgresql: str) -> Iterator[str]:
    """URI of an empty database on a PostgreSQL server."""
    import psycopg

    name = f"datasets_{uuid4().hex[:12]}"
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(postgresql)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_log_on_a_server_gives_the_same_table(
    settings: Settings, tmp_path: Path, server_log: str
) -> None:
    on_server = Settings(home=tmp_path / "server", log_uri=server_log)
    tables = []
    for each in (settings, on_server):
        answered(each, orders(5))
        reported(each, (2, 1, NOON + timedelta(days=2)))
        asked = DatasetRequest(
            name="corner", out=tmp_path / "d.parquet", since=NOON, as_of=LATER, actor="ann"
        )
        tables.append(frame(build_dataset(each, asked)))

    apart = ["decision_id", "CUSTOMER"]
    assert tables[0].drop(apart).equals(tables[1].drop(apart))


def test_the_command_says_what_is_in_the_table(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHITECROW_HOME", str(settings.root))
    answered(settings, orders(3))
    out = tmp_path / "d.parquet"
    command = ["dataset", "build", "corner", "--out", str(out), "--as-of", "2026-06-01"]

    as_json = CliRunner().invoke(app, [*command, "--from", "2026-03-01T14:00", "--json"])
    as_text = CliRunner().invoke(app, command)

    told = json.loads(as_json.stdout)
    assert (told["rows"], told["decided"], told["file"]) == (2, 2, str(out))
    assert told["as_of"] == "2026-06-01T00:00:00Z"
    assert as_text.exit_code == 0
    assert "3 rows (0 positive) in" in as_text.stdout
    assert "100.0% of 3 decisions" in as_text.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"since": "yesterday"}, "--from: write a moment like .* Got 'yesterday'"),
        ({"until": "1"}, "--to: write a moment"),
        ({"as_of": "x"}, "--as-of: write a moment"),
        (
            {"since": "2026-03-02", "until": "2026-03-02"},
            "--from, --to: the window must begin before it ends",
        ),
        (
            {"out": Path("d.csv")},
            r"--out: the file must end in \.parquet\. Got 'd.csv'",
        ),
    ],
)
def test_a_bad_option_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        dataset_request(**{"name": "corner", "out": Path("d.parquet"), "actor": "ann"} | options)


def test_a_model_that_is_not_there_is_one_line(settings: Settings, build: Build) -> None:
    with pytest.raises(UnknownModel, match="No model 'corner'"):
        build()


def test_a_column_called_like_the_decisions_own_is_refused() -> None:
    columns = SHOP["columns"] | {"numeric": ["AGE_DAYS", "DISTANCE", "risk_score"]}
    contract = parse_contract(SHOP | {"columns": columns}, source="tests")

    with pytest.raises(UndescribableContract, match="a column 'risk_score', as decisions do"):
        check_columns(contract)


def test_labels_that_no_column_of_a_request_joins_are_refused() -> None:
    label = {"column": "IS_FRAUD", "source": "l.csv", "key": "CLAIM", "absent_means": "unknown"}
    contract = parse_contract(SHOP | {"label": label}, source="tests")

    with pytest.raises(UndescribableContract, match="joins its labels by 'CLAIM'"):
        check_columns(contract)


@pytest.mark.parametrize(
    ("positive", "rule", "values"),
    [
        (1, {}, (0, 1)),
        (0, {}, (1, 0)),
        (True, {}, (False, True)),
        ("lost", {}, ("not lost", "lost")),
        ("lost", {"IS_FRAUD": {"values": ["repaid", "lost"]}}, ("repaid", "lost")),
    ],
)
def test_labels_are_written_as_the_contract_writes_them(
    positive: Any, rule: dict[str, Any], values: tuple[Any, Any]
) -> None:
    label = {"column": "IS_FRAUD", "positive": positive}
    contract = parse_contract(SHOP | {"label": label, "expectations": rule}, source="tests")

    assert label_values(contract) == values


@pytest.mark.parametrize(("wanted", "is_enough"), [(3, False), (2, True)])
def test_a_table_that_no_training_would_take_says_so_instead_of_a_next_command(
    settings: Settings, tmp_path: Path, wanted: int, is_enough: bool
) -> None:
    contract = CORNER | {"expectations": {"table": {"rows": {"min": wanted}}}}
    answered(settings, orders(2), contract)
    reported(settings, (1, 0, NOON), (2, 1, NOON), contract=contract)
    out = str(tmp_path / "rows.parquet")

    done = CliRunner(env={"WHITECROW_HOME": str(settings.root)}).invoke(
        app, ["dataset", "build", "corner", "--out", out, "--as-of", LATER.isoformat()]
    )

    said = " ".join(done.stdout.split())
    assert ("expects 3 rows or more: a training refuses fewer" in said) is not is_enough
    assert ("Next: whitecrow retrain corner" in said) is is_enough
