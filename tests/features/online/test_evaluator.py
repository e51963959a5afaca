"""The evaluator gives what the offline engine gives, whatever lies in the past."""

import math
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import parse_contract
from features.online.amount_sums import long_sums
from features.online.evaluator import VelocityEvaluator
from features.online.events import EventReader, LabelReport, microseconds_of
from features.online.overlay import with_events
from features.online.past import MISSING, entity_layouts, no_events, report_code
from features.velocity import velocity_plan
from features.velocity_table import add_velocity

rows = st.lists(
    st.tuples(
        st.integers(0, 12 * 24),  # hours: several rows an instant
        st.sampled_from([None, "c", "d"]),
        st.sampled_from([None, "s", "t"]),
        st.sampled_from([None, "chip", "swipe"]),
        st.none()
        | st.sampled_from([0.0, -0.01, 1e10, 1e10 + 0.01, -1e10, 1e18, 3.4e38])
        | st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
        st.sampled_from([None, 0, 1]),
        st.integers(0, 150),  # hours from the event to its report
    ),
    max_size=30,
)


def _table(given_rows, start) -> pl.DataFrame:
    made = [
        (
            f"t{number}",
            start + timedelta(hours=hours),
            amount, card, shop, mode, label,
            None if label is None else start + timedelta(hours=hours + after),
        )
        for number, (hours, card, shop, mode, amount, label, after) in enumerate(given_rows)
    ]  # fmt: skip
    schema = {
        "tx": pl.String, "when": pl.Datetime("us", "UTC"), "amount": pl.Float64,
        "card": pl.String, "shop": pl.String, "mode": pl.String, "label": pl.Int8,
        "label_reported_at": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    return pl.DataFrame(made, schema=schema, orient="row")


def _online(table: pl.DataFrame, contract) -> list[list[float]]:
    """Evaluate each row on a past of all the others of its entities, those after it included."""
    plan = velocity_plan(contract)
    evaluator, layouts = VelocityEvaluator(plan), entity_layouts(plan)
    events = list(EventReader(contract).read_frame(table, table["tx"]))
    reports = {
        name: report_code(LabelReport(name, label, microseconds_of(at)))
        for name, label, at in table.select("tx", "label", "label_reported_at").rows()
        if label is not None
    }
    found = []
    for row in events:
        past = []
        for layout in layouts:
            key = layout.key_of(row)
            others = [event for event in events if layout.key_of(event) == key]
            its_past = with_events(no_events(layout), others, layout)
            if layout.labels:
                in_time = sorted(others, key=lambda event: event.event_time)
                its_past.reports = [reports.get(event.id, MISSING) for event in in_time]
            past.append(None if key is None else its_past)
        found.append(evaluator.evaluate(row, tuple(past)))
    return found


@settings(max_examples=150)
@given(rows=rows, absent=st.sampled_from(["negative", "unknown"]))
def test_it_equals_the_offline_engine(everything, start, rows, absent) -> None:
    contract = parse_contract(everything(absent), source="watched")
    table = _table(rows, start)

    online = _online(table, contract)

    names = velocity_plan(contract).names
    offline = add_velocity(table, contract).select(names).rows()
    for found, wanted in zip(online, offline, strict=True):
        for name, value, other in zip(names, found, wanted, strict=True):
            if other is None:
                assert math.isnan(value), name
            else:
                # The same whole numbers, divided in the same order: to the last bit.
                assert value == other, name


@settings(max_examples=50)
@given(
    amounts=st.lists(st.integers(-(10**12), 10**12) | st.just(MISSING), max_size=50),
    repeats=st.integers(1, 40),
)
def test_long_parts_are_added_as_exactly_as_short_ones(amounts, repeats) -> None:
    known = [amount for amount in amounts * repeats if amount != MISSING]

    found = long_sums(amounts * repeats, has_squares=True)

    assert found.n == len(known)
    assert found.total == sum(known)
    assert found.squares == sum(amount**2 for amount in known)
    assert (found.largest, found.smallest) == (max(known, default=0), min(known, default=0))


def test_without_a_past_every_feature_is_null(watched) -> None:
    evaluator = VelocityEvaluator(velocity_plan(watched))

    assert all(math.isnan(value) for value in evaluator.without_past())
    assert len(evaluator.without_past()) == len(evaluator.names)


def test_an_entity_seen_for_the_first_time_counts_nothing(watched, event) -> None:
    plan = velocity_plan(watched)
    nothing = tuple(no_events(layout) for layout in entity_layouts(plan))

    found = dict(zip(plan.names, VelocityEvaluator(plan).evaluate(event(0), nothing), strict=True))

    zero = {name for name, value in found.items() if value == 0}
    assert zero == {
        name
        for name in plan.names
        if "_count_1" in name or "_count_5" in name or "sum" in name or "distinct" in name
    } | {"card_count_7d"}
    assert all(math.isnan(value) for name, value in found.items() if name not in zero)


def test_a_million_amounts_are_added_exactly(watched, event) -> None:
    plan = velocity_plan(watched)
    past = no_events(entity_layouts(plan)[0])
    n = 100_000
    times = [event(0).event_time + at for at in range(n)]
    past.times, past.amounts, past.values = times, [10**12] * n, ([1] * n, [2] * n)

    found = VelocityEvaluator(plan).evaluate(event(1, amount=1e10), (past, None, None))

    by_name = dict(zip(plan.names, found, strict=True))
    assert by_name["card_amount_sum_1d"] == 1e10 * n
    assert by_name["card_amount_std_1d"] == 0
    assert by_name["card_amount_to_mean_1d"] == 1


def test_the_past_must_be_that_of_the_plan(watched, event) -> None:
    with pytest.raises(ValueError, match="shorter"):
        VelocityEvaluator(velocity_plan(watched)).evaluate(event(0), (None,))
