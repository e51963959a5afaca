"""Validation: failing rows go to quarantine, the rest goes on, a broken table stops the flow.

Row rules (:mod:`features.validation.row_rules`) run on a chunk of rows at a time, table rules
(:mod:`features.validation.table_rules`) on figures that Polars computes, so memory never holds
the whole table in pandas. Every row read is either passed or quarantined, never both, never
neither.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from features.contract import Contract
from features.labels import label_text
from features.served_table import DECISION_COLUMNS, ServedTable
from features.validation.corrections import Corrections, read_corrections
from features.validation.expectations import table_failures
from features.validation.outcome import TableResult, ValidationOutcome
from features.validation.profile import DataProfile, fit_profile
from features.validation.quarantine import (
    SOURCE,
    check_no_bookkeeping,
    parquet_rows,
    with_bookkeeping,
)
from features.validation.row_judge import RowJudge, rules_by_row
from features.validation.table_rules import (
    DriftTolerances,
    TableFacts,
    in_words,
    observe,
    observed_in_words,
    table_rules,
)
from features.validation.tally import Tally

logger = logging.getLogger(__name__)

CHUNK_ROWS = 1_000_000


def validate(
    source: pl.DataFrame | pl.LazyFrame,
    contract: Contract,
    *,
    source_sha256: str,
    quarantine_path: Path,
    passed_path: Path,
    profile: DataProfile | None = None,
    tolerances: DriftTolerances | None = None,
    accepts_drift: bool = False,
    corrections_path: Path | None = None,
    chunk_rows: int = CHUNK_ROWS,
    as_of: datetime | None = None,
    served: ServedTable | None = None,
) -> ValidationOutcome:
    """Apply every rule to a table, write what passed and what did not, and say what was found.

    A table rule that is broken does not raise here, so that the report can be written first:
    call :meth:`ValidationOutcome.raise_if_stopped` after that.

    Args:
        source: The table as read, before ``conform``.
        contract: Its contract; patterns are resolved here.
        source_sha256: What identifies the source; kept with every quarantined row.
        quarantine_path: Parquet of the failing rows as they were read, with ``_row``, ``_rules``
            and ``_source_sha256``. Written even if there are none.
        passed_path: Parquet of the other rows in their order, typed as ``conform`` types them.
        profile: Profile of the last released version, to hold the table against.
        tolerances: How far from that profile the table may lie.
        accepts_drift: Whether the flow goes on however far it lies; what is broken is told.
        corrections_path: Rows of this source that a person has corrected
            (:func:`features.requeue.requeue`); they stand in for the rows as read.
        chunk_rows: Rows handed to Great Expectations at a time.
        as_of: The moment that freshness and label delay count from, aware. Default: now for
            freshness, the newest event time for labels.
        served: What the table says of itself, where its rows were served: then their features
            over time go on with them, and pseudonyms are asked only what they can tell.

    Raises:
        ContractError: If the contract does not fit the table, or an expectation is malformed.
        DataError: If a column can never hold what the contract says, or the table is a
            quarantine file.
    """
    lazy = source.lazy()
    schema = lazy.collect_schema()
    check_no_bookkeeping(schema)
    contract = _resolved(contract, schema.names(), served)
    if served is not None:
        lazy = lazy.drop(DECISION_COLUMNS)
        schema = lazy.collect_schema()
    corrections = read_corrections(corrections_path, source_sha256, contract, schema)
    tally = Tally(contract)
    with parquet_rows(passed_path) as passed, parquet_rows(quarantine_path) as quarantined:
        for typed, failed in _judged(lazy, contract, corrections, chunk_rows, tally):
            passed.append(typed)
            quarantined.append(failed.with_columns(pl.lit(source_sha256).alias(SOURCE)))
        if served is not None:
            passed.describe(served.of_a_part.metadata)
    _check_whole(tally.read, passed.n_rows, quarantined.n_rows)
    moment = as_of or datetime.now(UTC)
    now = _profile_of(passed_path, contract, as_of)
    facts = TableFacts(now, moment, _outside(passed_path, contract, profile))
    results = judge_table(
        contract, facts, profile, tolerances or DriftTolerances(), accepts_drift=accepts_drift
    )
    outcome = ValidationOutcome(
        contract=contract.name,
        source_sha256=source_sha256,
        read=tally.read,
        passed=passed.n_rows,
        quarantined=quarantined.n_rows,
        corrected=corrections.n_rows,
        row_failures=tally.failures(),
        table_results=results,
        stopped=any(result.passed is False and not result.accepted for result in results),
        profile=now,
        compared_rows=None if profile is None else profile.n_rows,
        as_of=moment,
        quarantine_path=quarantine_path,
        passed_path=passed_path,
    )
    logger.info(
        "table validated",
        extra={
            "rows_read": outcome.read,
            "passed": outcome.passed,
            "quarantined": outcome.quarantined,
            "stopped_by": [result.name for result in outcome.broken_table_rules],
        },
    )
    return outcome


def judge_table(
    contract: Contract,
    facts: TableFacts,
    profile: DataProfile | None,
    tolerances: DriftTolerances,
    *,
    accepts_drift: bool = False,
) -> tuple[TableResult, ...]:
    """Return what became of every table rule, broken ones first."""
    rules = table_rules(contract, profile, tolerances, n_rows=facts.profile.n_rows)
    observed = [observe(rule, facts, profile) for rule in rules]
    failures = table_failures(rules, observed)
    results = [
        TableResult(
            name=rule.name,
            rule=rule.rule,
            column=rule.column,
            unit=rule.unit,
            low=rule.low,
            high=rule.high,
            before=rule.before,
            observed=figure,
            observed_text=observed_in_words(rule, figure),
            expected=in_words(rule),
            passed=None if figure is None else not is_broken,
            is_drift=rule.is_drift,
            accepted=accepts_drift and rule.is_drift and figure is not None and bool(is_broken),
        )
        for rule, figure, is_broken in zip(rules, observed, failures, strict=True)
    ]
    return tuple(sorted(results, key=lambda result: result.passed is not False))


def _resolved(contract: Contract, names: list[str], served: ServedTable | None) -> Contract:
    if served is None:
        return contract.resolve(names)
    return served.judged(served.resolve(contract, names))


def _judged(
    lazy: pl.LazyFrame,
    contract: Contract,
    corrections: Corrections,
    chunk_rows: int,
    tally: Tally,
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield, chunk by chunk, the rows that pass, typed, and those that do not, as read."""
    judge = RowJudge(contract, lazy.collect_schema())
    columns = lazy.select(judge.whole_columns).collect() if judge.whole_columns else pl.DataFrame()
    whole = judge.look_at_all(columns, replaced=corrections.rows)
    for rows in _chunks(lazy, chunk_rows):
        numbers = pl.int_range(tally.read, tally.read + rows.height, eager=True)
        part = whole.rows(tally.read, rows.height)
        inside = corrections.between(numbers)
        if inside.n_rows:
            typed, broken = inside.judge_with(judge, rows, numbers, part, tally)
        else:
            typed = judge.typed(rows, part)
            failing = judge.failing(rows, typed, part)
            tally.add(judge.rules, failing, rows, numbers)
            broken = rules_by_row(judge.rules, failing)
        is_failed = pl.int_range(rows.height, eager=True).is_in(broken["position"].implode())
        failed = with_bookkeeping(
            rows.filter(is_failed), numbers.filter(is_failed), broken["_rules"]
        )
        yield typed.filter(~is_failed), failed
        tally.read += rows.height


def _chunks(lazy: pl.LazyFrame, chunk_rows: int) -> Iterator[pl.DataFrame]:
    """Yield a table's rows in order, some at a time; one empty frame if it has none."""
    n_chunks = 0
    for chunk in lazy.collect_batches(chunk_size=chunk_rows, maintain_order=True):
        # A batch may be larger than asked for, where the source hands it out whole.
        for rows in chunk.iter_slices(chunk_rows):
            n_chunks += 1
            yield rows
    if n_chunks == 0:
        yield lazy.collect()


def _check_whole(n_read: int, n_passed: int, n_quarantined: int) -> None:
    if n_read != n_passed + n_quarantined:
        raise RuntimeError(
            f"Rows got lost: {n_read} read, {n_passed} passed, {n_quarantined} quarantined."
        )


def _profile_of(passed_path: Path, contract: Contract, as_of: datetime | None) -> DataProfile:
    passed = pl.scan_parquet(passed_path)
    return fit_profile(passed, contract, label=_known_label(passed, contract, as_of))


def _known_label(
    passed: pl.LazyFrame, contract: Contract, as_of: datetime | None
) -> pl.Series | None:
    """Return 1, 0 or null (none, or not known yet); None where another table has the labels."""
    label, time = contract.label, contract.event_time_column
    if label.source is not None:
        return None
    rows = passed.select({name for name in (label.column, time) if name}).collect()
    positive = label_text(pl.Series([label.positive], strict=False))[0]
    known: pl.Series = (label_text(rows[label.column]) == positive).cast(pl.Int8)
    if label.absent_means == "negative":
        known = known.fill_null(0)
    newest = as_of or (rows[time].max() if time else None)
    if time is None or not isinstance(newest, datetime):
        return known
    is_immature: pl.Series = rows[time] + label.delay > newest
    return known.set(is_immature.fill_null(value=True), None)


def _outside(
    passed_path: Path, contract: Contract, profile: DataProfile | None
) -> dict[str, float]:
    """Return the share of values outside the profile's range, by numeric column."""
    ranges = {
        name: column
        for name, column in (profile.columns if profile is not None else {}).items()
        if column.minimum is not None and name in contract.numeric_columns
    }
    if not ranges:
        return {}
    shares = pl.scan_parquet(passed_path).select(
        (~pl.col(name).is_between(column.minimum, column.maximum)).mean().alias(name)
        for name, column in ranges.items()
    )
    row = shares.collect().row(0, named=True)
    return {name: share for name, share in row.items() if share is not None}
