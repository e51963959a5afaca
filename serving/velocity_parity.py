"""The gate for features over time: a replay through a real state equals the training table.

The rows of some entities are handed to an empty SQLite state one by one, in time order, with the
labels as they were reported. Before each row is applied, its features are read as the service
reads them, and compared with those of the table that the network was trained on. Rows that were
served bring what the service itself computed: their table must hold the same.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract import Contract
from features.contract_blocks import Names
from features.labels import LABEL, known_after
from features.online.comparison import TOLERANCE, relative_difference
from features.online.evaluator import VelocityEvaluator
from features.online.events import Event, EventReader, LabelReport
from features.online.opening import open_state
from features.online.state import OnlineState
from features.velocity import VelocityPlan, velocity_plan

_MOST_EVENTS = 6_000
_AT = "__at"


@dataclass(frozen=True, slots=True)
class VelocityParity:
    """What the replay found.

    Attributes:
        n_entities: Entities and pairs whose rows were replayed; 0 where rows were served before.
        n_events: Rows that were replayed, or had been served.
        n_values: Feature values that were compared.
        n_different: Of these, those that differ by more than the tolerance.
        first_different_feature: Name of one of them.
        largest_difference: Relative; 1 where only one of two is null.
        tolerance: The most that it may be.
    """

    n_entities: int
    n_events: int
    n_values: int
    n_different: int
    first_different_feature: str | None
    largest_difference: float
    tolerance: float = TOLERANCE

    def problems(self) -> list[str]:
        """Return what stands against a release, in words."""
        if not self.n_values:
            return ["no feature over time could be compared: no row has all of an entity"]
        if not self.n_different:
            return []
        what = "the replay of" if self.n_entities else "what was served to"
        found = (
            f"{self.n_different} of {self.n_values} values of features over time differ between "
            f"{what} {self.n_events} rows and the table, by up to "
            f"{self.largest_difference:.2g}, the first in {self.first_different_feature}"
        )
        return [found]


def replay_velocity(
    contract: Contract,
    history: pl.DataFrame,
    expected: pl.DataFrame,
    *,
    most_events: int = _MOST_EVENTS,
) -> VelocityParity:
    """Replay the rows of some entities and compare their features over time.

    Args:
        contract: Resolved; with features over time.
        history: Every conformed row that is part of any row's past, with ``label`` (and
            ``label_reported_at``) of :func:`features.labels.reported_labels`.
        expected: A row for each of ``history``, in its order, with a column for each feature
            over time (:func:`features.velocity_table.add_velocity`) and ``is_known``: whether the
            table has this row.
        most_events: About how many rows to replay. Of an entity with more, the first are taken.
    """
    plan = velocity_plan(contract)
    sample = _Sample.of(history, plan, contract, most_events)
    found = _replayed(contract, sample.rows)
    wanted = expected[sample.rows[_AT]]
    compared = sample.is_compared(plan) & wanted["is_known"].to_numpy()[:, None]
    difference = relative_difference(found, wanted.select(plan.names).cast(pl.Float64).to_numpy())
    difference[~compared] = 0.0
    is_different = difference > TOLERANCE
    first = np.flatnonzero(is_different.any(axis=0))
    return VelocityParity(
        n_entities=sample.n_entities,
        n_events=sample.rows.height,
        n_values=int(compared.sum()),
        n_different=int(is_different.sum()),
        first_different_feature=plan.names[first[0]] if len(first) else None,
        largest_difference=float(difference.max(initial=0.0)),
    )


def compare_served(contract: Contract, served: pl.DataFrame, table: pl.DataFrame) -> VelocityParity:
    """Compare the features over time of a table with those that its rows were served with.

    Args:
        contract: Resolved; with features over time.
        served: Rows with ``row_id`` and their features over time as they were served.
        table: Rows with ``row_id`` and the features that the network was trained on.
    """
    names = velocity_plan(contract).names
    columns = pl.col(names).cast(pl.Float64)
    once = [
        each.unique("row_id", keep="none").select("row_id", columns) for each in (served, table)
    ]
    rows = once[0].join(once[1], on="row_id", suffix="_in_table")
    found = rows.select(names).to_numpy()
    wanted = rows.select(f"{name}_in_table" for name in names).to_numpy()
    is_different = ~((found == wanted) | (np.isnan(found) & np.isnan(wanted)))
    first = np.flatnonzero(is_different.any(axis=0))
    difference = relative_difference(found, wanted)
    return VelocityParity(
        n_entities=0,
        n_events=rows.height,
        n_values=found.size,
        n_different=int(is_different.sum()),
        first_different_feature=names[first[0]] if len(first) else None,
        largest_difference=float(difference.max(initial=0.0)),
        tolerance=0.0,
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows to replay, in time order, and whose rows they are.

    Attributes:
        rows: Of the history, with ``_AT``, their place in it.
        members: For each entity of the plan, which of these rows belong to a chosen one.
        n_entities: How many were chosen.
    """

    rows: pl.DataFrame
    members: tuple[NDArray[np.bool_], ...]
    n_entities: int

    @classmethod
    def of(
        cls, history: pl.DataFrame, plan: VelocityPlan, contract: Contract, most_events: int
    ) -> "_Sample":
        time = contract.event_time_column
        assert time is not None
        rows = history.with_row_index(_AT).filter(pl.col(time).is_not_null()).sort(time, _AT)
        budget = max(1, most_events // len(plan.entities))
        masks, n_entities = [], 0
        for entity in plan.entities:
            mask, n_chosen = _chosen(rows, entity, budget)
            masks.append(mask)
            n_entities += n_chosen
        is_kept = np.logical_or.reduce(masks)
        kept = tuple(mask[is_kept] for mask in masks)
        return cls(rows.filter(pl.Series(is_kept)), kept, n_entities)

    def is_compared(self, plan: VelocityPlan) -> NDArray[np.bool_]:
        """Return which features of which rows have the whole past of their entity in the sample.

        Shape:
            ``(n_rows, n_features)``
        """
        member = dict(zip(plan.entities, self.members, strict=True))
        return np.stack([member[feature.entity] for feature in plan.features], axis=1)


def _chosen(rows: pl.DataFrame, entity: Names, budget: int) -> tuple[NDArray[np.bool_], int]:
    """Return which rows belong to the entities chosen by hash, the first ``budget`` of them."""
    key = pl.when(pl.all_horizontal(pl.col(entity).is_not_null())).then(pl.struct(entity).hash(17))
    keyed = rows.select(key=key).with_columns(nth=pl.int_range(pl.len()).over("key"))
    keys = keyed["key"]
    sizes = keys.drop_nulls().value_counts(name="n").sort("key")
    starts = sizes["n"].cum_sum() - sizes["n"]
    chosen = sizes.filter(starts < budget)["key"]
    is_chosen = keys.is_in(chosen.implode()).fill_null(value=False)
    return (is_chosen & (keyed["nth"] < budget)).to_numpy(), chosen.len()


def _replayed(contract: Contract, rows: pl.DataFrame) -> NDArray[np.float64]:
    """Return the features over time of each row as a service would have read them."""
    plan = velocity_plan(contract)
    evaluator = VelocityEvaluator(plan)
    reports = _Reports(rows, contract)
    # Ids of the table may repeat, and every row of it counts.
    ids = rows[_AT].cast(pl.String)
    found = np.full((rows.height, len(plan.features)), np.nan)
    with tempfile.TemporaryDirectory(prefix="whitecrow-parity-") as folder:
        state = open_state(contract, folder=Path(folder), clock=_end_of_time)
        try:
            for at, event in enumerate(EventReader(contract).read_frame(rows, ids)):
                assert event is not None, "rows without an event time are left out"
                reports.hand_in(state, before=event.event_time)
                found[at] = _next(state, evaluator, event)
        finally:
            state.close()
    return found


def _next(state: OnlineState, evaluator: VelocityEvaluator, event: Event) -> list[float]:
    (past,) = state.past([event])
    state.apply([event])
    return evaluator.evaluate(event, past)


class _Reports:
    """Label reports in the order in which they became known."""

    def __init__(self, rows: pl.DataFrame, contract: Contract) -> None:
        self._reports: Sequence[LabelReport] = ()
        self._next = 0
        if velocity_plan(contract).label_features:
            self._reports = sorted(_reports(rows, contract), key=lambda each: each.reported_at)

    def hand_in(self, state: OnlineState, *, before: int) -> None:
        """Report what became known before a moment, once."""
        end = self._next
        while end < len(self._reports) and self._reports[end].reported_at < before:
            end += 1
        if end > self._next:
            state.report_labels(self._reports[self._next : end])
            self._next = end


def _reports(rows: pl.DataFrame, contract: Contract) -> Iterator[LabelReport]:
    time = contract.event_time_column
    assert time is not None
    moments = rows[time].cast(pl.Datetime("us", "UTC")).to_physical() + known_after(rows, contract)
    for at, label, moment in zip(rows[_AT], rows[LABEL], moments, strict=True):
        if label is not None:
            yield LabelReport(str(at), int(label), moment)


def _end_of_time() -> int:
    return 2**62
