"""A table from the decision log: rows, features as they were served, and the labels known by then.

The log is read a group at a time, and rows lie on disk until all have come in: a long log takes
time and room on the disk, and no more memory than a day of it.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from features.contract import Contract
from features.served_content import ContentDigest
from features.served_table import ServedTable
from features.validation.quarantine import parquet_rows
from flows.datasets.columns import RowColumns
from flows.datasets.coverage import LEFT_OUT_IN_WORDS, REPEATED, Coverage
from flows.datasets.days import MOMENT, RECEIVED, DayFiles, SeenIds
from flows.datasets.description import check_columns, described_dataset
from flows.datasets.knowledge import LabelKnowledge, label_values
from flows.datasets.request import DatasetRequest
from flows.datasets.selection import DECLINED_DECISION, ERASED, Selection, Window
from flows.datasets.served_features import ServedFeatures
from flows.workspace import Workspace
from infra.errors import Refusal
from infra.ledger import open_ledger
from infra.settings import Settings
from infra.storage import sha256_file, write_atomically
from serving.decisions.chain import Group
from serving.decisions.opening import open_store
from serving.decisions.sealing import read_log_secret
from serving.decisions.store import DecisionStore
from serving.model_store import ModelStore
from serving.outcomes import OutcomeBook

OnProgress = Callable[[int, int], None]
"""Told how many decisions of the log were read, and how many there are."""

DATASET_BUILT = "dataset_built"
_CLOCKS_DIFFER = timedelta(days=2)


class EmptyDataset(Refusal):
    """Raised when no decision becomes a row; says what was left out."""


@dataclass(frozen=True, slots=True)
class BuiltDataset:
    """A table of decided rows.

    Attributes:
        file: Where it is.
        sha256: Of the file; the ledger has it, too.
        description: What the file says of itself.
        model_version: The version that its columns are of.
        coverage: What is in it and what is not.
        rows_wanted: What the contract expects of a table to train on, at least.
    """

    file: Path
    sha256: str
    description: ServedTable
    model_version: str
    coverage: Coverage
    rows_wanted: int = 0

    @property
    def is_enough(self) -> bool:
        """Whether a training would take it, by its size."""
        return self.coverage.kept >= self.rows_wanted

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        told = self.description.model_dump(
            mode="json", include={"model", "since", "until", "as_of"}
        )
        facts = {"file": str(self.file), "sha256": self.sha256, "model_version": self.model_version}
        return told | facts | self.coverage.to_json()


def build_dataset(
    settings: Settings, asked: DatasetRequest, *, on_progress: OnProgress | None = None
) -> BuiltDataset:
    """Write the rows of a model whose labels are known, and enter the file in the ledger.

    Args:
        settings: Name the log, the models, the outcomes and the ledger.
        asked: Which rows, as of when, and where to.
        on_progress: Is told how much of the log was read.

    Raises:
        UnknownModel: If there is no such model.
        EmptyDataset: If no decision becomes a row; nothing is written then.
        UndescribableContract: If the contract's rows cannot be taken from the log.
        LogUnreachable: If the log does not answer; nothing is written then.
        LogMismatch: If it is none, or another secret's.
    """
    Workspace.open(settings)
    models = ModelStore.open(settings)
    resolved = models.resolve(asked.name)
    bundle = models.bundle(resolved.name, resolved.model_version)
    contract = bundle.contract
    check_columns(contract)
    secret = read_log_secret(settings.keys, settings.log_secret)
    columns, coverage = RowColumns(contract, secret), Coverage()
    served = ServedFeatures(models, resolved.name, contract)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        closing(open_store(settings, secret)) as log,
        tempfile.TemporaryDirectory(prefix=".dataset-", dir=asked.out.parent) as scratch,
    ):
        selection = Selection(
            model=resolved.name,
            contract=contract,
            label_values=label_values(contract),
            window=Window.of(asked.since, asked.until, asked.as_of),
            store=log,
            columns=columns,
            served=served,
            knowledge=LabelKnowledge(OutcomeBook(settings.root), contract, asked.as_of),
            coverage=coverage,
        )
        days = DayFiles(_folder(scratch, "days"))
        for rows in selection.frames(_groups(log, contract, asked, on_progress)):
            days.add(rows)
        with write_atomically(asked.out) as staging:
            with closing(SeenIds(Path(scratch) / "seen.db")) as seen:
                written = _in_order(days, seen, contract, coverage)
                described = partial(described_dataset, bundle, asked, columns.hidden, coverage)
                description = _write(written, staging, served.names, described)
            if description is None:
                raise EmptyDataset(_nothing(asked, coverage))
            built = BuiltDataset(
                asked.out,
                sha256_file(staging),
                description,
                resolved.model_version,
                coverage,
                rows_wanted=_rows_wanted(contract),
            )
            # Before the file takes its place: what is there is in the ledger.
            open_ledger(settings).append(
                DATASET_BUILT,
                resolved.name,
                actor=asked.actor,
                reason=asked.reason,
                details=built.to_json() | {"file": asked.out.name},
            )
    return built


def summary(built: BuiltDataset) -> str:
    """Return in some lines what is in a table, and what is not."""
    coverage, told = built.coverage, built.coverage.to_json()
    size = f"{coverage.kept:,} rows ({coverage.kept_positives:,} positive) in {built.file}"
    share = f"{told['share_of_decided']:.1%} of {coverage.decided:,} decisions"
    lines = [f"{size}, as of {built.description.as_of:%Y-%m-%d %H:%M} UTC: {share}"]
    if coverage.declined:
        lines.append(
            f"Declined: {coverage.declined:,}, of which {coverage.kept_declined:,} have a label "
            f"({told['share_of_declined']:.1%}). Explored: {coverage.explored:,}, of which "
            f"{coverage.kept_explored:,} have one."
        )
    left_out = [
        f"{coverage.left_out[why]:,} {words}"
        for why, words in LEFT_OUT_IN_WORDS.items()
        if coverage.left_out[why]
    ]
    if left_out:
        lines.append(f"Left out: {', '.join(left_out)}")
    if not built.is_enough:
        lines.append(
            f"The contract expects {built.rows_wanted:,} rows or more: a training refuses fewer. "
            "Take a longer window, or wait for labels"
        )
    if coverage.erased:
        lines.append(f"Of {coverage.erased:,} rows nobody can read what is personal any more")
    return "\n".join(lines)


def _rows_wanted(contract: Contract) -> int:
    rows = contract.expectations.table.rows
    return 0 if rows is None or rows.min is None else int(rows.min)


def _groups(
    log: DecisionStore,
    contract: Contract,
    asked: DatasetRequest,
    on_progress: OnProgress | None,
) -> Iterator[Group]:
    """Yield the groups that may hold rows of the window.

    Where rows are refused that lie ahead of the clock, none was written down before it happened.
    """
    first = ""
    if asked.since is not None and contract.velocity_features:
        margin = max(_CLOCKS_DIFFER, contract.policy.max_clock_skew * 2)
        first = (asked.since - margin).date().isoformat()
    total = sum(each.n_records for each in log.segments() if each.name >= first)
    done = 0
    for group in log.groups(first_segment=first):
        yield group
        done += group.n_records
        if on_progress is not None:
            on_progress(done, total)


def _in_order(
    days: DayFiles, seen: SeenIds, contract: Contract, coverage: Coverage
) -> Iterator[pl.DataFrame]:
    """Yield rows in the order of time, each id once, and count them."""
    own_id, positive = contract.columns.id, label_values(contract)[1]
    for of_day in days.in_order():
        rows = of_day if own_id is None else of_day.filter(seen.is_first(of_day[own_id]))
        coverage.left_out[REPEATED] += of_day.height - rows.height
        coverage.kept += rows.height
        coverage.kept_positives += int((rows[contract.label.column] == positive).sum())
        coverage.kept_declined += int((rows["decision"] == DECLINED_DECISION).sum())
        coverage.kept_explored += int(rows["explored"].sum())
        coverage.erased += int(rows[ERASED].sum())
        yield rows.drop(MOMENT, RECEIVED, ERASED)


def _write(
    frames: Iterator[pl.DataFrame],
    file: Path,
    served: tuple[str, ...],
    describe: Callable[[], ServedTable],
) -> ServedTable | None:
    """Write rows with what is said of them once all are counted; None where there are none."""
    digest = ContentDigest(served)
    with parquet_rows(file) as rows:
        for frame in frames:
            rows.append(frame)
            digest.add(frame)
        if not rows.n_rows:
            return None
        description = digest.sealed(describe())
        rows.describe(description.metadata)
    return description


def _nothing(asked: DatasetRequest, coverage: Coverage) -> str:
    left_out = [
        f"{count:,} {LEFT_OUT_IN_WORDS[why]}" for why, count in coverage.left_out.items() if count
    ]
    why = f" ({', '.join(left_out)})" if left_out else ""
    return (
        f"No row of {asked.name} has a known label as of {asked.as_of:%Y-%m-%d %H:%M} UTC: the log "
        f"holds {coverage.decided:,} decisions of that window{why}. Bring labels (whitecrow labels "
        "import), or choose a wider window or a later --as-of."
    )


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder
