"""The proof of a backfill: sampled entities have the same features online and offline.

For each sampled entity a row is made up right after the newest one of the history. Its features
are evaluated from the state, as the service would, and from the table, as training would.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract_blocks import Names
from features.online.comparison import TOLERANCE, relative_difference
from features.online.evaluator import VelocityEvaluator
from features.online.events import EventReader, moment_of
from features.online.history import ROW_ID, History
from features.online.state import LATENESS, OnlineState
from features.velocity import velocity_plan
from features.velocity_table import add_velocity

N_ENTITIES = 400
_HOTTEST_SHARE = 0.25
_ROWS_AT_ONCE = 50
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Proof:
    """What the comparison found.

    Attributes:
        n_rows: Rows made up, one for each sampled entity.
        n_features: Features compared; those are left out that look further back than a state
            that has moved on since keeps.
        n_values: Values compared, null ones included.
        n_different: Of these, those that differ by more than the tolerance.
        largest_difference: Relative; 1 where only one of two is null.
        first_different_feature: Name of one of them.
        tolerance: The most that a difference may be.
    """

    n_rows: int
    n_features: int
    n_values: int
    n_different: int
    largest_difference: float
    first_different_feature: str | None
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether values were compared and none differs."""
        return self.n_values > 0 and self.n_different == 0

    def to_json(self) -> dict[str, Any]:
        """Return what was found by name."""
        return {"holds": self.holds, **asdict(self)}


def prove(
    state: OnlineState,
    history: History,
    *,
    n_entities: int = N_ENTITIES,
    lateness: timedelta = LATENESS,
    seed: int = 0,
) -> Proof:
    """Compare the features of sampled entities at the newest moment of a history.

    Args:
        state: That the history was loaded into.
        history: The same.
        n_entities: How many to sample of each entity or pair, the largest among them.
        lateness: That the state was opened with.
        seed: Fixes the sample.

    Raises:
        StateUnreachable: If the state does not answer.
    """
    rows = _probes(history, n_entities, seed)
    found, wanted = _online(state, history, rows), _offline(history, rows)
    is_kept = _is_kept(state, history, lateness)
    difference = relative_difference(found, wanted)[:, is_kept]
    is_different = difference > TOLERANCE
    at = np.flatnonzero(is_different.any(axis=0))
    names = np.array(velocity_plan(history.contract).names)[is_kept]
    return Proof(
        n_rows=rows.height,
        n_features=int(is_kept.sum()),
        n_values=difference.size,
        n_different=int(is_different.sum()),
        largest_difference=float(difference.max(initial=0.0)),
        first_different_feature=str(names[at[0]]) if at.size else None,
    )


def _probes(history: History, n_entities: int, seed: int) -> pl.DataFrame:
    """Return a row for each sampled entity: its newest one, moved right behind all others."""
    plan = velocity_plan(history.contract)
    newest = [
        _newest_of_sampled(history.frame, entity, n_entities, seed) for entity in plan.entities
    ]
    time = str(history.contract.event_time_column)
    return pl.concat(newest).with_columns(
        pl.lit(history.newest + _MICROSECOND).cast(history.frame.schema[time]).alias(time),
        pl.format("probe:{}", pl.int_range(pl.len())).alias(ROW_ID),
    )


def _newest_of_sampled(
    rows: pl.DataFrame, entity: Names, n_entities: int, seed: int
) -> pl.DataFrame:
    whole = rows.drop_nulls(entity)
    sizes = whole.group_by(entity, maintain_order=True).len().sort("len", descending=True)
    n_hottest = min(sizes.height, round(n_entities * _HOTTEST_SHARE))
    others = sizes[n_hottest:]
    chosen = others.sample(min(others.height, n_entities - n_hottest), seed=seed)
    keys = pl.concat([sizes[:n_hottest], chosen]).select(entity)
    newest = whole.unique(entity, keep="last", maintain_order=True)
    return newest.join(keys, on=list(entity), how="semi", maintain_order="left")


def _online(state: OnlineState, history: History, rows: pl.DataFrame) -> NDArray[np.float64]:
    """Return features as the service evaluates them.

    Shape:
        ``(n_rows, n_features)``, NaN where null
    """
    evaluator = VelocityEvaluator(velocity_plan(history.contract))
    reader = EventReader(history.contract)
    found: list[list[float]] = []
    for part in rows.iter_slices(_ROWS_AT_ONCE):
        events = [event for event in reader.read_frame(part, part[ROW_ID]) if event is not None]
        pairs = zip(events, state.past(events), strict=True)
        found += [evaluator.evaluate(event, past) for event, past in pairs]
    return np.array(found, dtype=np.float64)


def _offline(history: History, rows: pl.DataFrame) -> NDArray[np.float64]:
    """Return features as tables are computed, from the rows of the same entities.

    Shape:
        ``(n_rows, n_features)``, NaN where null
    """
    plan = velocity_plan(history.contract)
    is_needed = np.zeros(history.frame.height, dtype=np.bool_)
    for mask in _of_same_entities(history.frame, rows, plan.entities):
        is_needed |= mask
    past = history.frame.filter(pl.Series(is_needed))
    table = add_velocity(rows, history.contract, history=past)
    return table.select(plan.names).cast(pl.Float64).to_numpy()


def _of_same_entities(
    rows: pl.DataFrame, chosen: pl.DataFrame, entities: tuple[Names, ...]
) -> Iterator[NDArray[np.bool_]]:
    numbered = rows.with_row_index("__row")
    for entity in entities:
        keys = chosen.select(entity).drop_nulls().unique()
        found = numbered.join(keys, on=list(entity), how="semi")["__row"].to_numpy()
        mask = np.zeros(rows.height, dtype=np.bool_)
        mask[found] = True
        yield mask


def _is_kept(state: OnlineState, history: History, lateness: timedelta) -> NDArray[np.bool_]:
    """Return which features look back no further than the state still keeps events.

    Shape:
        ``(n_features,)``
    """
    plan, newest = velocity_plan(history.contract), state.newest()
    if newest is None:
        return np.ones(len(plan.features), dtype=np.bool_)
    moved_on = moment_of(newest) - history.newest
    return np.array(
        [
            each.look_back + moved_on <= plan.horizon(each.entity) + lateness
            for each in plan.features
        ]
    )
