import numpy as np
import polars as pl
import pytest

from flows.bakeoff.members import Member
from flows.bakeoff.plan import JobResult
from flows.bakeoff.run import compare
from flows.bakeoff.standing import Run, Standing, best_tree, difference, rows_of_results

LABEL = (np.arange(400) % 10 == 0).astype(np.int8)


def _run(seed: int, noise: float, *, label=LABEL, validation: float = 0.5) -> Run:
    rng = np.random.default_rng([seed, int(100 * noise)])
    score = 1 / (1 + np.exp(-(label + noise * rng.normal(size=len(label)))))
    result = JobResult(finished=True, strategy={}, validation_average_precision=validation)
    from balancing.metrics.ranking import average_precision

    metrics = {"average_precision": average_precision(label, score)}
    return Run(seed, 0, result, 1, label, score, metrics)


def _standing(name: str, noise: float, *, family: str = "network", **how) -> Standing:
    member = Member(name=name, family=family, strategy={"kind": "erm"})
    return Standing(member, tuple(_run(seed, noise, **how) for seed in range(3)))


def test_on_the_same_rows_the_gain_is_the_mean_of_paired_differences():
    good, bad = _standing("good", 0.3), _standing("erm", 2.0)

    gain = difference(good, bad)

    expected = good.mean("average_precision") - bad.mean("average_precision")
    assert gain.value == pytest.approx(expected)
    assert 0 < gain.low < gain.value < gain.high


def test_on_other_rows_the_interval_is_students_over_the_repetitions():
    labels = [np.roll(LABEL, shift) for shift in range(3)]
    good, bad = (
        Standing(each.member, tuple(_run(s, noise, label=labels[s]) for s in range(3)))
        for each, noise in ((_standing("good", 0.5), 0.5), (_standing("erm", 1.0), 1.0))
    )
    gains = [
        mine.metrics["average_precision"] - other.metrics["average_precision"]
        for mine, other in zip(good.runs, bad.runs, strict=True)
    ]

    gain = difference(good, bad)

    half = 4.302653 * np.std(gains, ddof=1) / np.sqrt(3)
    assert gain.value == pytest.approx(np.mean(gains))
    assert gain.high - gain.value == pytest.approx(half)


def test_the_rival_is_the_tree_that_validation_prefers():
    weak = _standing("weak", 0.1, family="tree", validation=0.3)
    strong = _standing("strong", 1.0, family="tree", validation=0.6)
    plain = _standing("erm", 0.5)

    assert best_tree([weak, plain, strong]) is strong
    assert best_tree([plain]) is None
    against = compare([weak, plain, strong])
    assert set(against["erm"]) == {"tree"}
    assert set(against["strong"]) == {"erm"}
    assert set(against["weak"]) == {"erm", "tree"}


def test_a_member_that_did_not_finish_stands_in_the_table_with_its_reason():
    slow = Standing(Member(name="slow", strategy={"kind": "erm"}), (), why_not="longer than 5 s")
    plain = _standing("erm", 0.5)

    table = rows_of_results([plain, slow], compare([plain, slow]))

    assert table.filter(pl.col("member") == "slow")["why_not"].to_list() == ["longer than 5 s"]
    assert table.filter(pl.col("member") == "erm").height == 3
    assert difference(slow, plain) is None
