"""The tables that judge: a file of transactions, or the service's own traffic with its labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from features.contract import Contract
from features.feature_table import with_row_id
from features.ingestion.conforming import conform
from features.ingestion.tables import DataFingerprint, fingerprint, read_table
from features.labels import LabelledFrame, attach_labels
from features.served_content import verified_description
from features.served_table import ServedTable, common_description
from flows.past_rows import scored_columns, with_past
from serving.scorer import Scorer


@dataclass(frozen=True, slots=True)
class JudgedTable:
    """Rows of one or several tables, each once.

    Attributes:
        rows: As read.
        repeats: Rows that were there more than once, by the contract's id.
        sources: What identifies the tables.
        served: What the tables say of themselves, where the service decided their rows.
        log_coverage: Share of the log's rows, and of its declines, that are in; None for others.
    """

    rows: pl.DataFrame
    repeats: int
    sources: tuple[DataFingerprint, ...]
    served: ServedTable | None
    log_coverage: dict[str, float | None] | None

    def labelled(self, contract: Contract, as_of: datetime | None) -> LabelledFrame:
        """Return what describes the rows, conformed, with ``row_id`` and the labels known by then.

        Args:
            contract: Resolved.
            as_of: Default: the moment that served rows were taken for, or the newest event time.

        Raises:
            DataError: If the rows do not fit the contract, or have no labels.
        """
        rows = with_row_id(conform(self._described(contract), contract), contract)
        if self.served is None:
            return attach_labels(rows, contract, as_of=as_of, both_classes=False)
        own = self.served.labels(rows.lazy(), contract)
        return attach_labels(
            rows,
            contract,
            as_of=as_of or self.served.as_of,
            labels=None if own is None else own.collect(),
            both_classes=False,
        )

    def with_features(self, contract: Contract) -> pl.DataFrame:
        """Return the rows as a version scores them, features over time and all.

        Served rows bring these; the others see every earlier row of all the tables.
        """
        return with_past(conform(scored_columns(self.rows, contract), contract), contract)

    def scorer(self, scorer: Scorer) -> Scorer:
        """Return what scores the rows: row rules ask of pseudonyms only what they can tell."""
        if self.served is None:
            return scorer
        bundle = scorer.bundle
        feature_set = replace(bundle.feature_set, contract=self.served.judged(bundle.contract))
        return Scorer(
            replace(bundle, feature_set=feature_set),
            scorer.policy,
            model_version=scorer.model_version,
            policy_version=scorer.policy_version,
            model=scorer.model,
        )

    def _described(self, contract: Contract) -> pl.DataFrame:
        """Return what describes rows: a request's columns, the label's, and groups."""
        label = contract.label
        wanted = {*contract.request_columns, *contract.columns.groups}
        wanted |= {label.column, *(n for n in (label.reported_at, label.key) if n is not None)}
        wanted |= {*self.served.label} if self.served is not None else set()
        return self.rows.select(name for name in self.rows.columns if name in wanted)


def read_judged_tables(data: Sequence[str], *contracts: Contract) -> JudgedTable:
    """Return the rows of some tables of one kind.

    Args:
        data: Paths or URIs.
        contracts: Of all versions that score them, the one that describes the rows last.

    Raises:
        DataError: If a table cannot be read, or tables of served rows and others are mixed, or
            served rows bring other features than one of the contracts declares.
    """
    found: dict[str, ServedTable | None] = {}
    for contract in contracts:
        found = {source: verified_description(source, contract) for source in data}
    read = pl.concat([read_table(source) for source in data], how="diagonal_relaxed")
    rows = _without_repeats(read, contracts[-1])
    return JudgedTable(
        rows=rows,
        repeats=read.height - rows.height,
        sources=tuple(fingerprint(source) for source in data),
        served=common_description(found),
        log_coverage=_log_coverage([each for each in found.values() if each is not None]),
    )


def _without_repeats(table: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return each row once: tables may overlap, and a row that counts twice is no evidence."""
    name = contract.columns.id
    if name is None or name not in table.columns:
        return table
    return table.filter(pl.col(name).is_first_distinct() | pl.col(name).is_null())


def _log_coverage(served: Sequence[ServedTable]) -> dict[str, float | None] | None:
    if not served:
        return None

    def share(part: str, whole: str) -> float | None:
        parts, wholes = (sum(each.coverage[key] or 0 for each in served) for key in (part, whole))
        return parts / wholes if wholes else None

    return {"rows": share("rows", "decided"), "declines": share("declined_rows", "declined")}
