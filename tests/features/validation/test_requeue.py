"""Requeue: corrected rows come back once, and what still fails stays."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.ingestion.conforming import conform
from features.ingestion.data_error import DataError
from features.ingestion.tables import read_table
from features.validation.outcome import ValidationOutcome
from features.validation.quarantine import write_quarantine_csv
from features.validation.requeue import requeue
from features.validation.validate import validate

SOURCE = "a" * 64


def contract() -> Contract:
    mapping = {
        "name": "toy",
        "columns": {
            "id": "id",
            "event_time": "t",
            "amount": {"column": "amount", "currency": "EUR"},
            "categorical": ["kind"],
            "drop": ["note"],
        },
        "label": {"column": "is_fraud"},
        "expectations": {"amount": {"min": 0, "null": False}, "kind": {"values": ["a", "b"]}},
    }
    return parse_contract(mapping, source="test")


ROWS = pl.DataFrame(
    {
        "id": [1, 2, 2, 4, 5],
        "t": ["2020-01-01", "2020-01-02", "2020-01-03", "soon", "2020-01-05"],
        "amount": ["1", "two", "3", "4", "-5"],
        "kind": ["a", "b", "a", "b", "b"],
        "note": [0.5, 1.5, 2.5, 3.5, 4.5],
        "is_fraud": [0, 1, 0, 1, 0],
    }
)
"""Row 1 has text for an amount, row 2 a taken id, row 3 no time, row 4 a negative amount."""


class Case:
    """The files of one source: what passed, what did not, what was corrected."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passed = folder / "passed.parquet"
        self.quarantine = folder / "quarantine.parquet"
        self.corrections = folder / "corrections.parquet"

    def validate(self, **how: Any) -> ValidationOutcome:
        return validate(
            ROWS,
            contract(),
            source_sha256=SOURCE,
            quarantine_path=self.quarantine,
            passed_path=self.passed,
            corrections_path=self.corrections,
            **how,
        )

    def requeue(self, corrected: pl.DataFrame) -> ValidationOutcome:
        return requeue(
            corrected,
            contract(),
            quarantine_path=self.folder / "still.parquet",
            passed_path=self.folder / "back.parquet",
            corrections_path=self.corrections,
            earlier_passed=self.passed,
        )

    def corrected(self, row: int, **values: Any) -> pl.DataFrame:
        """The quarantine with some values of one row exchanged."""
        changes = [
            pl.when(pl.col("_row") == row).then(pl.lit(value)).otherwise(name).alias(name)
            for name, value in values.items()
        ]
        return pl.read_parquet(self.quarantine).with_columns(changes)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    case = Case(tmp_path)
    assert case.validate().quarantined == 4
    return case


def test_rows_as_they_were_stay_in_quarantine(case: Case) -> None:
    outcome = case.requeue(pl.read_parquet(case.quarantine))

    assert (outcome.read, outcome.passed, outcome.quarantined) == (4, 0, 4)
    still = pl.read_parquet(outcome.quarantine_path)
    assert still.equals(pl.read_parquet(case.quarantine))


def test_a_corrected_row_passes_and_the_others_stay(case: Case) -> None:
    outcome = case.requeue(case.corrected(1, amount="2"))

    assert (outcome.read, outcome.passed, outcome.quarantined) == (4, 1, 3)
    back = pl.read_parquet(outcome.passed_path)
    assert back.row(0, named=True)["amount"] == 2.0
    assert back.columns == ROWS.columns
    assert pl.read_parquet(outcome.quarantine_path)["_row"].to_list() == [2, 3, 4]


def test_the_next_validation_has_the_corrected_row_in_its_place(case: Case) -> None:
    case.requeue(case.corrected(3, t="2020-01-04"))

    outcome = case.validate()

    passed = pl.read_parquet(outcome.passed_path)
    assert (outcome.read, outcome.passed, outcome.quarantined, outcome.corrected) == (5, 2, 3, 1)
    assert passed["id"].to_list() == ["1", "4"]
    assert passed["note"].to_list() == [0.5, 3.5]
    assert conform(passed, contract().resolve(passed.columns)).equals(passed)


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 5])
def test_corrections_meet_their_rows_in_any_chunk(case: Case, chunk_rows: int) -> None:
    case.requeue(case.corrected(3, t="2020-01-04"))
    case.requeue(case.corrected(1, amount="2"))

    outcome = case.validate(chunk_rows=chunk_rows)

    assert pl.read_parquet(outcome.passed_path)["amount"].to_list() == [1.0, 2.0, 4.0]
    quarantined = pl.read_parquet(outcome.quarantine_path)
    assert quarantined["_row"].to_list() == [2, 4]
    assert quarantined["amount"].to_list() == ["3", "-5"]


def test_the_same_file_twice_counts_nothing_twice(case: Case) -> None:
    corrected = case.corrected(1, amount="2")
    first = case.requeue(corrected)

    second = case.requeue(corrected)

    assert first.passed == 1
    assert (second.read, second.passed, second.already_taken) == (3, 0, 1)
    assert pl.read_parquet(case.corrections).height == 1
    assert case.validate().passed == 2


def test_an_id_that_passed_before_is_taken(case: Case) -> None:
    outcome = case.requeue(case.corrected(1, id=1, amount="2"))

    rules = dict(pl.read_parquet(outcome.quarantine_path).select("_row", "_rules").rows())
    assert rules[1] == ["unique(id)"]


def test_a_corrected_id_makes_way_for_the_row(case: Case) -> None:
    case.requeue(case.corrected(1, amount="2"))
    case.requeue(case.corrected(2, id=3))

    assert case.validate().passed == 3


def test_a_csv_edited_by_a_person_comes_back(case: Case, tmp_path: Path) -> None:
    csv = tmp_path / "quarantine.csv"
    assert write_quarantine_csv(case.quarantine, csv) == 4
    text = csv.read_text("utf-8")
    assert "type(amount)" in text
    csv.write_text(text.replace("two", "2").replace("soon", "2020-01-04"), "utf-8")

    outcome = case.requeue(read_table(csv))

    assert (outcome.passed, outcome.quarantined) == (2, 2)
    passed = case.validate()
    assert pl.read_parquet(passed.passed_path)["is_fraud"].to_list() == [0, 1, 1]


def test_corrections_of_another_source_are_left_alone(case: Case) -> None:
    foreign = case.corrected(1, amount="2").with_columns(_source_sha256=pl.lit("b" * 64))
    assert case.requeue(foreign).passed > 0

    assert case.validate().corrected == 0


def test_a_stricter_contract_judges_corrections_again(case: Case) -> None:
    case.requeue(case.corrected(1, amount="2"))
    stricter = contract().model_dump()
    stricter["expectations"]["columns"]["amount"]["max"] = 1.5

    outcome = validate(
        ROWS,
        Contract.model_validate(stricter),
        source_sha256=SOURCE,
        quarantine_path=case.quarantine,
        passed_path=case.passed,
        corrections_path=case.corrections,
    )

    rules = dict(pl.read_parquet(outcome.quarantine_path).select("_row", "_rules").rows())
    assert rules[1] == ["range(amount)"]
    assert outcome.read == outcome.passed + outcome.quarantined


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.exclude("_row"), "lack the column '_row'"),
        (pl.exclude("_source_sha256"), "lack the column '_source_sha256'"),
        (pl.all().head(1).append(pl.all().head(1)), "Row 1 stands 2 times"),
        (pl.col("_row").replace({1: None}), "1 corrected row.s. have no _row"),
    ],
)
def test_what_is_no_quarantine_file_is_refused(case: Case, change: pl.Expr, message: str) -> None:
    quarantine = pl.read_parquet(case.quarantine)
    keep_all = "replace" in str(change)
    corrected = quarantine.with_columns(change) if keep_all else quarantine.select(change)

    with pytest.raises(DataError, match=message):
        case.requeue(corrected)


def test_a_quarantine_file_may_be_rewritten_in_place(case: Case) -> None:
    outcome = requeue(
        case.corrected(1, amount="2"),
        contract(),
        quarantine_path=case.quarantine,
        passed_path=case.folder / "back.parquet",
        corrections_path=case.corrections,
    )

    assert outcome.quarantined == 3
    again = requeue(
        pl.read_parquet(case.quarantine),
        contract(),
        quarantine_path=case.quarantine,
        passed_path=case.folder / "back.parquet",
        corrections_path=case.corrections,
    )
    assert (again.read, again.passed, again.already_taken) == (3, 0, 0)


def test_rows_that_were_not_handed_in_keep_waiting(case: Case) -> None:
    only_one = case.corrected(1, amount="2").filter(pl.col("_row") == 1)
    only_one = only_one.with_columns(pl.col("amount").cast(pl.Float64))

    outcome = requeue(
        only_one,
        contract(),
        quarantine_path=case.quarantine,
        passed_path=case.folder / "back.parquet",
        corrections_path=case.corrections,
    )

    assert (outcome.read, outcome.passed) == (1, 1)
    waiting = pl.read_parquet(case.quarantine)
    assert waiting["_row"].to_list() == [2, 3, 4]
    assert waiting["amount"].to_list() == ["3", "4", "-5"]


def test_another_export_of_the_same_rows_is_corrected_on_its_own(tmp_path) -> None:
    """The same ids under another source are the same rows again, not a clash."""
    case = Case(tmp_path)
    case.validate()
    case.requeue(case.corrected(1, amount="2"))
    other = case.corrected(1, amount="2").with_columns(_source_sha256=pl.lit("b" * 64))

    outcome = requeue(
        other,
        contract(),
        quarantine_path=tmp_path / "other_still.parquet",
        passed_path=tmp_path / "other_back.parquet",
        corrections_path=case.corrections,
    )

    assert (outcome.read, outcome.already_taken) == (other.height, 0)
    assert outcome.passed >= 1
    assert not any(
        failure.rule == "unique" and failure.count > 1 for failure in outcome.row_failures
    )
