"""Which rows the gate draws together."""

import polars as pl

from balancing.metrics.ranking import average_precision_of
from features.contract import parse_contract
from flows.gate.clusters import MIN_CLUSTERS, cluster_of
from flows.gate.objective import compare_scores

CONTRACT = parse_contract(
    {
        "name": "till",
        "columns": {"entities": ["CARD", "SHOP"], "numeric": ["SIGNAL"]},
        "split": {"by": "random"},
        "label": {"column": "FRAUD"},
    },
    source="a test",
)


def rows_of(n_cards: int, payments: int) -> pl.DataFrame:
    """Payments of cards, the even ones stolen; each at another shop, every third at none."""
    n_rows = n_cards * payments
    return pl.DataFrame(
        {
            "CARD": [f"card {i % n_cards}" for i in range(n_rows)],
            "SHOP": [i if i % 3 else None for i in range(n_rows)],
            "label": [int(i % n_cards % 2 == 0) for i in range(n_rows)],
        }
    )


def test_the_entity_counts_that_gathers_the_positives() -> None:
    rows = rows_of(2 * MIN_CLUSTERS, payments=5)

    cluster = cluster_of(rows, CONTRACT)

    assert cluster.n_unique() == 2 * MIN_CLUSTERS
    first = rows["CARD"] == "card 7"
    assert cluster.filter(first).n_unique() == 1
    assert not set(cluster.filter(first)) & set(cluster.filter(~first))


def test_a_row_without_the_entity_is_by_itself() -> None:
    rows = rows_of(2 * MIN_CLUSTERS, payments=5).with_columns(
        CARD=pl.when(pl.col("CARD") != "card 7").then("CARD")
    )

    cluster = cluster_of(rows, CONTRACT)

    assert cluster.filter(rows["CARD"].is_null()).n_unique() == 5
    assert cluster.n_unique() == 2 * MIN_CLUSTERS - 1 + 5


def test_too_few_entities_leave_rows_alone() -> None:
    rows = rows_of(2 * MIN_CLUSTERS - 2, payments=5).drop("SHOP")

    assert cluster_of(rows, CONTRACT).n_unique() == rows.height


def test_frauds_in_bursts_make_the_gates_interval_wider() -> None:
    """Whoever catches one payment of a stolen card catches them all."""
    rows = rows_of(4 * MIN_CLUSTERS, payments=9)
    card = pl.int_range(rows.height) % (4 * MIN_CLUSTERS)
    jitter = pl.int_range(rows.height) / (10 * rows.height)
    rows = rows.with_columns(
        old_score=(card * 7 % 11) / 11 + 0.4 * pl.col("label") + jitter,
        new_score=(card * 5 % 13) / 13 + 0.5 * pl.col("label") + jitter,
    )

    bursts, alone = (
        compare_scores(
            "average precision", rows.with_columns(cluster), average_precision_of,
            confidence=0.9, seed=0,
        ).gain
        for cluster in (cluster_of(rows, CONTRACT), pl.int_range(rows.height).alias("cluster"))
    )  # fmt: skip

    assert bursts.value == alone.value
    # Nine payments a card: about three times as wide.
    assert 2 < (bursts.high - bursts.low) / (alone.high - alone.low) < 4
