"""Corrected rows back in: validated again, kept if they pass, left in quarantine if not.

A row is known by the SHA-256 of its source and its row number there. Whoever hands the same file
in twice, or a file in which only some rows were corrected, changes nothing for the others.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from features.contract import Contract
from features.validation.corrections import add_corrections, taken_keys
from features.validation.outcome import ValidationOutcome
from features.validation.quarantine import KEY, ROW, SOURCE, parquet_rows, read_corrected
from features.validation.row_judge import RowJudge, rules_by_row
from features.validation.tally import Tally

logger = logging.getLogger(__name__)


def requeue(
    corrected: pl.DataFrame,
    contract: Contract,
    *,
    quarantine_path: Path,
    passed_path: Path,
    corrections_path: Path,
    earlier_passed: Path | None = None,
) -> ValidationOutcome:
    """Validate corrected rows again and keep those that pass for the next run.

    Table rules are left to that run: a handful of rows says nothing about a table.

    Args:
        corrected: A quarantine file, or the CSV made of one, after a person has corrected it:
            the source's columns, ``_row`` and ``_source_sha256``. ``_rules`` is not read.
        contract: The contract of the source.
        quarantine_path: Where rows that still fail go, with the rules they break now. May be the
            file they came from: rows in it that were not handed in stay.
        passed_path: Where rows that pass go, typed, without bookkeeping columns.
        corrections_path: All corrected rows taken back so far; those that pass are added. Hand
            it to the next :func:`features.validation.validate` of their source, which puts them
            in the place of the rows as read.
        earlier_passed: Rows of the source that passed before: an id among them is taken.

    Returns:
        The outcome for the rows that were not taken back before; those are ``already_taken``.

    Raises:
        DataError: If these are no rows of a quarantine file, or one stands there twice.
        ContractError: If the contract does not fit their columns.
    """
    keyed = read_corrected(corrected)
    taken = taken_keys(corrections_path)
    new = keyed.join(taken, on=KEY, how="anti", maintain_order="left")
    rows, keys = new.drop(KEY), new.select(KEY)
    resolved = contract.resolve(rows.columns)
    judge = RowJudge(resolved, rows.schema)
    whole = judge.look_at_all(
        rows.select(judge.whole_columns),
        taken=_taken_values(judge, corrections_path, earlier_passed, keyed[SOURCE]),
    )
    typed = judge.typed(rows, whole)
    failing = judge.failing(rows, typed, whole)
    tally = Tally(resolved)
    tally.add(judge.rules, failing, rows, keys[ROW])
    broken = rules_by_row(judge.rules, failing)
    is_failed = pl.int_range(rows.height, eager=True).is_in(broken["position"].implode())
    passed = typed.filter(~is_failed)
    # First what is gained, then what is left: a crash between them repeats rows, and a repeated
    # row is known by its key.
    add_corrections(
        corrections_path, pl.concat([passed, keys.filter(~is_failed)], how="horizontal")
    )
    still = rows.filter(is_failed).with_columns(
        keys.filter(is_failed)[ROW], broken["_rules"], keys.filter(is_failed)[SOURCE]
    )
    _write(passed_path, passed)
    _write(quarantine_path, _with_waiting(still, quarantine_path, keyed.select(KEY), taken))
    sources = keyed[SOURCE].unique(maintain_order=True)
    outcome = ValidationOutcome(
        contract=contract.name,
        source_sha256=str(sources[0]) if len(sources) else "",
        read=rows.height,
        passed=passed.height,
        quarantined=still.height,
        already_taken=keyed.height - new.height,
        row_failures=tally.failures(),
        as_of=datetime.now(UTC),
        quarantine_path=quarantine_path,
        passed_path=passed_path,
    )
    logger.info(
        "corrected rows validated",
        extra={
            "rows_read": outcome.read,
            "passed": outcome.passed,
            "quarantined": outcome.quarantined,
            "already_taken": outcome.already_taken,
        },
    )
    return outcome


def _taken_values(
    judge: RowJudge, corrections_path: Path, earlier_passed: Path | None, sources: pl.Series
) -> Mapping[str, pl.Series]:
    """Return, by unique column, the values that rows of the same source have already."""
    tables = [pl.scan_parquet(earlier_passed)] if earlier_passed and earlier_passed.exists() else []
    if corrections_path.exists():
        # Another export of the same rows has the same ids, and they are no clash.
        same_source = pl.col(SOURCE).is_in(sources.unique().implode())
        tables.append(pl.scan_parquet(corrections_path).filter(same_source))
    return {
        name: pl.concat(
            [
                pl.Series(name, [], dtype=pl.String),
                *(
                    table.select(pl.col(name).cast(pl.String)).collect()[name]
                    for table in tables
                    if name in table.collect_schema()
                ),
            ]
        )
        for name in judge.unique_columns
    }


def _with_waiting(
    still: pl.DataFrame, quarantine_path: Path, handed_in: pl.DataFrame, taken: pl.DataFrame
) -> pl.DataFrame:
    """Return the failing rows together with those of the file that nobody has corrected yet."""
    if not quarantine_path.exists():
        return still
    waiting = pl.read_parquet(quarantine_path)
    for keys in (handed_in, taken):
        waiting = waiting.join(keys, on=KEY, how="anti", maintain_order="left")
    if waiting.is_empty():
        return still
    # A corrected CSV may read a column as another type: then both are kept as text.
    differing = [
        c for c in still.columns if c in waiting.columns and still[c].dtype != waiting[c].dtype
    ]
    as_text = pl.col(differing).cast(pl.String)
    both = pl.concat([waiting.with_columns(as_text), still.with_columns(as_text)], how="diagonal")
    return both.sort(KEY)


def _write(path: Path, rows: pl.DataFrame) -> None:
    with parquet_rows(path) as file:
        file.append(rows)
