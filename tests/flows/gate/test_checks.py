"""When a check passes, fails, or is open; and what follows from all of them."""

import pytest

from balancing.metrics.intervals import Interval
from flows.gate.checks import Check, all_checks
from flows.gate.evidence import Evidence
from flows.gate.latency import Latency
from flows.gate.rule import GateRule
from flows.gate.shadow import ShadowEvidence
from flows.gate.verdict import outcome_of

FAST = Latency(champion=100.0, challenger=110.0, ratio=1.1, rows=300)


def evidence(*, latency: Latency = FAST, shadow: ShadowEvidence | None = None) -> Evidence:
    return Evidence(
        rows=1_000, positives=100, labelled=None, alerts=None, budget=None,
        latency=latency, shadow=shadow,
    )  # fmt: skip


def shadow(share: float, decisions: int = 1_000) -> ShadowEvidence:
    return ShadowEvidence(
        decisions=decisions,
        disagreement=Interval(share, share / 2, share * 2),
        kinds={"approve → review": round(share * decisions)},
        since="2026-01-01T00:00:00+00:00",
        until="2026-01-02T00:00:00+00:00",
    )


def check(name: str, *, passed: bool | None) -> Check:
    return Check(name, 1.0, None, 1.0, passed, f"{name} says so")


def found(name: str, given: Evidence) -> Check:
    (only,) = [each for each in all_checks(given, GateRule()) if each.name == name]
    return only


@pytest.mark.parametrize(
    ("share", "decisions", "passed"),
    [(0.2, 1_000, True), (0.21, 1_000, False), (0.0, 499, None), (0.9, 499, None)],
)
def test_live_decisions_that_differ(share, decisions, passed) -> None:
    only = found("max_disagreement", evidence(shadow=shadow(share, decisions)))

    assert only.passed is passed
    assert f"{share:.2%} of {decisions:,} live decisions" in only.says


def test_without_a_shadow_there_is_no_such_check() -> None:
    names = [each.name for each in all_checks(evidence(), GateRule())]

    assert names == ["min_rows", "min_positives", "max_latency_ratio"]


@pytest.mark.parametrize(("ratio", "passed"), [(3.0, True), (3.1, False)])
def test_single_rows_that_take_longer(ratio, passed) -> None:
    slow = Latency(champion=100.0, challenger=100.0 * ratio, ratio=ratio, rows=300)

    assert found("max_latency_ratio", evidence(latency=slow)).passed is passed


@pytest.mark.parametrize(
    ("results", "rule", "outcome", "words"),
    [
        ([True, True], {"on_pass": "promote"}, "promote", "All 2 checks passed"),
        ([True, True], {}, "person", "leaves the promotion to a person"),
        ([True, None], {"on_pass": "promote"}, "person", "A person has to decide: b says so."),
        ([False, None], {"on_pass": "promote"}, "keep", "Keep the champion: a says so."),
        ([False, True], {}, "keep", "Keep the champion: a says so."),
        ([True, True], {"on_pass": "promote", "approvals": 1}, "person", "one other person"),
    ],
)
def test_one_failed_check_keeps_and_an_open_one_asks_a_person(
    results, rule, outcome, words
) -> None:
    checks = tuple(check(name, passed=result) for name, result in zip("ab", results, strict=True))

    decided, says = outcome_of(checks, GateRule(**rule))

    assert decided == outcome
    assert words in says
