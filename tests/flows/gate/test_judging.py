"""Challengers whose worth is known, and what the gate says of them."""

import json
import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.ingestion.data_error import DataError
from flows.gate.judging import JudgeRequestError
from flows.gate.rows import Period, newer_rows
from flows.gate.rule import GateRule
from infra.ledger import Ledger
from infra.storage import sha256_file
from serving.live import CHALLENGER, CHAMPION
from serving.model_references import UnknownModel

# What single rows cost is tested apart: a busy machine is no reason to keep a champion here.
PROMOTES = GateRule(on_pass="promote", max_latency_ratio=50.0)
WEAK = {"SIGNAL": 1.0, "NOISE": 1.0}


def moment(day: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)


def results(verdict) -> dict[str, bool | None]:
    return {check.name: check.passed for check in verdict.judgement.checks}


def says(verdict, name: str) -> str:
    (found,) = [check.says for check in verdict.judgement.checks if check.name == name]
    return str(found)


def test_a_better_challenger_is_promoted(new_till, rows) -> None:
    till = new_till()
    till.release(CHAMPION, WEAK, intercept=-4.0)
    till.release(CHALLENGER)

    verdict = till.judge(rows, rule=PROMOTES)

    assert verdict.outcome == "promote"
    assert set(results(verdict).values()) == {True}
    assert verdict.judgement.evidence.labelled.average_precision.gain.low > 0


@pytest.fixture(scope="module")
def tied(new_till, rows):
    """A till whose challenger is its champion's twin, and the verdict on it; not to be changed."""
    till = new_till()
    till.release(CHAMPION)
    till.release(CHALLENGER)
    before = till.store.live.by_alias()
    verdict = till.judge(rows, rule=PROMOTES, seed=3)
    assert till.store.live.by_alias() == before, "judging changes nothing that is live"
    return till, verdict


def test_a_tie_passes_unless_the_rule_wants_more(tied, till, rows) -> None:
    till.release(CHALLENGER)

    demanding = till.judge(
        rows, rule=PROMOTES.model_copy(update={"min_average_precision_gain": 0.01})
    )

    assert tied[1].outcome == "promote"
    gain = tied[1].judgement.evidence.labelled.average_precision.gain
    assert (gain.value, gain.low, gain.high) == (0.0, 0.0, 0.0)
    assert demanding.outcome == "keep"
    assert results(demanding)["min_average_precision_gain"] is False


def test_by_default_promotion_is_left_to_a_person(till, rows) -> None:
    till.release(CHALLENGER)

    by_default = till.judge(rows, rule=GateRule(max_latency_ratio=50.0))
    approved = till.judge(rows, rule=PROMOTES.model_copy(update={"approvals": 2}))

    assert (by_default.outcome, approved.outcome) == ("person", "person")
    assert by_default.says.endswith("the rule leaves the promotion to a person.")
    assert approved.says.endswith("the rule wants the approval of two other people.")


@pytest.mark.parametrize(
    ("challenger", "failed"),
    [
        ({"weights": {"NOISE": 1.0}}, {"min_average_precision_gain", "min_objective_gain"}),
        ({"review": None, "decline": None}, {"min_caught_gain", "max_segment_loss"}),
        ({"review": 0.02}, {"max_alert_volume_ratio"}),
        (
            {"weights": {"SIGNAL": 8.0}, "intercept": -16.0},
            {"max_calibration_slope_deviation"},
        ),
    ],
)
def test_a_worse_challenger_is_kept_out_by_the_checks_that_it_fails(
    till, rows, challenger, failed
) -> None:
    till.release(CHALLENGER, **challenger)

    verdict = till.judge(rows, rule=PROMOTES)

    assert verdict.outcome == "keep"
    assert failed <= {name for name, passed in results(verdict).items() if passed is False}
    assert all(says(verdict, name) in verdict.says for name in failed)


def test_a_slower_challenger_is_kept_out(till, rows) -> None:
    till.release(CHALLENGER)

    verdict = till.judge(rows, rule=PROMOTES.model_copy(update={"max_latency_ratio": 0.001}))

    assert verdict.outcome == "keep"
    assert results(verdict)["max_latency_ratio"] is False


def test_a_loss_that_may_be_chance_is_left_to_a_person(till, rows) -> None:
    till.release(CHALLENGER, {"SIGNAL": 2.0, "NOISE": 0.3})

    # The loss is far smaller than the margin; what it might be is wider.
    rule = PROMOTES.model_copy(update={"min_average_precision_gain": -0.01})
    verdict = till.judge(rows, rule=rule)

    gain = verdict.judgement.evidence.labelled.average_precision.gain
    assert gain.low < -0.01 <= gain.value
    assert results(verdict)["min_average_precision_gain"] is None
    assert verdict.outcome == "person"


def test_too_few_positives_are_no_verdict_and_say_how_many_are_needed(till, rows) -> None:
    till.release(CHALLENGER)

    verdict = till.judge(rows, rule=PROMOTES.model_copy(update={"min_positives": 1_000}))

    assert verdict.outcome == "person"
    assert verdict.judgement.evidence.labelled is None
    assert "at least 1,000 are needed to judge" in verdict.says
    assert results(verdict)["min_positives"] is None


def test_no_new_rows_at_all_are_no_verdict(till, rows) -> None:
    till.release(CHALLENGER, fitted_until=pl.read_parquet(rows)["AT"].max())

    verdict = till.judge(rows, rule=PROMOTES)

    assert verdict.outcome == "person"
    assert (verdict.judgement.evidence.rows, verdict.judgement.evidence.alerts) == (0, None)


def test_nobody_can_tell_what_a_version_has_seen(till, rows) -> None:
    till.release(CHALLENGER, fitted_until=None)

    verdict = till.judge(rows, rule=PROMOTES)

    assert verdict.outcome == "person"
    assert verdict.to_json()["rows"]["after"] is None


def test_labels_that_were_not_known_yet_do_not_judge(till, rows) -> None:
    till.release(CHALLENGER)
    table = pl.read_parquet(rows)
    as_of = table["AT"].min() + timedelta(days=60)

    verdict = till.judge(rows, rule=PROMOTES, as_of=as_of)

    judged = verdict.judgement.judged
    assert judged.labelled["event_time"].max() <= as_of - timedelta(days=7)
    assert judged.frame["event_time"].max() <= as_of
    assert verdict.to_json()["rows"]["coverage"]["rows"] == pytest.approx(23 / 30, abs=0.02)


def test_rows_count_from_after_the_later_cut_off_of_both(new_till, rows) -> None:
    till = new_till()
    start = pl.read_parquet(rows)["AT"].min()
    till.release(CHAMPION, calibrated_until=start + timedelta(days=50))
    till.release(CHALLENGER, fitted_until=start + timedelta(days=40))

    found = till.judge(rows, rule=PROMOTES).judgement.judged

    assert found.frame["event_time"].min() > start + timedelta(days=50)


def test_a_table_given_twice_counts_once(till, rows, tmp_path) -> None:
    till.release(CHALLENGER)
    again = tmp_path / "again.parquet"
    pl.read_parquet(rows).tail(2_000).write_parquet(again)

    once, twice = till.judge(rows, rule=PROMOTES), till.judge(rows, again, rule=PROMOTES)

    assert once.judgement.evidence.rows == twice.judgement.evidence.rows
    assert twice.to_json()["rows"]["left_out"]["there more than once"] == 2_000


@given(
    days=st.lists(st.floats(0, 100), min_size=1, max_size=50),
    cut_off=st.floats(0, 100),
    since=st.none() | st.floats(0, 100),
    until=st.none() | st.floats(0, 100),
    as_of=st.floats(0, 100),
)
def test_rows_before_a_cut_off_never_judge(days, cut_off, since, until, as_of) -> None:
    times = pl.Series([moment(day) for day in days], dtype=pl.Datetime("us", "UTC"))
    period = Period(
        moment(as_of),
        None if since is None else moment(since),
        None if until is None else moment(until),
    )

    judges = newer_rows(times, len(days), moment(cut_off), period, period.as_of)

    expected = [
        moment(cut_off) < at <= moment(as_of)
        and (since is None or at >= moment(since))
        and (until is None or at < moment(until))
        for at in times
    ]
    assert judges.to_list() == expected


def test_the_ledger_has_the_digest_of_the_evidence(tied) -> None:
    till, verdict = tied

    ledger = Ledger(till.settings.database)
    (entry,) = ledger.entries("till")
    assert (entry.event, entry.sequence) == ("gated", verdict.ledger_sequence)
    assert entry.details["outcome"] == "promote"
    assert entry.details["evidence_sha256"] == sha256_file(verdict.table)
    assert entry.details["page_sha256"] == sha256_file(verdict.page)
    assert (entry.details["champion"]["version"], entry.details["challenger"]["version"]) == (
        "1", "2",
    )  # fmt: skip
    assert json.loads(verdict.table.read_text())["checks"] == verdict.to_json()["checks"]
    assert ledger.verify() == 1


def test_where_mlflow_is_away_the_verdict_stands_and_says_so(tied) -> None:
    till, verdict = tied

    assert verdict.mlflow_run_id is None
    assert verdict.page.is_file()
    assert [entry.event for entry in Ledger(till.settings.database).entries("till")] == ["gated"]


def test_the_same_seed_gives_the_same_evidence(tied, till, rows) -> None:
    till.release(CHALLENGER)

    told = [verdict.to_json()["evidence"] for verdict in (
        tied[1], till.judge(rows, rule=PROMOTES, seed=3),
    )]  # fmt: skip

    for evidence in told:
        del evidence["latency"]
    assert told[0] == told[1]


def test_two_at_once_are_two_verdicts(till, rows) -> None:
    till.release(CHALLENGER)
    verdicts = []
    threads = [
        threading.Thread(target=lambda: verdicts.append(till.judge(rows, rule=PROMOTES)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ledger = Ledger(till.settings.database)
    assert [verdict.outcome for verdict in verdicts] == ["promote", "promote"]
    assert len({verdict.folder for verdict in verdicts}) == 2
    assert sorted(verdict.ledger_sequence for verdict in verdicts) == [
        entry.sequence for entry in ledger.entries("till") if entry.event == "gated"
    ]
    assert ledger.verify() == 2


def test_without_a_challenger_there_is_nothing_to_judge(till, rows) -> None:
    with pytest.raises(UnknownModel, match="has no challenger"):
        till.judge(rows)


def test_the_champion_does_not_challenge_itself(till, rows) -> None:
    with pytest.raises(UnknownModel, match="is the champion itself"):
        till.judge(rows, challenger="1")


def test_a_version_may_be_named(till, rows) -> None:
    till.release(CHALLENGER)
    till.release(CHALLENGER, {"NOISE": 1.0})

    assert till.judge(rows, rule=PROMOTES, challenger="2").outcome == "promote"
    assert till.judge(rows, rule=PROMOTES).outcome == "keep"


def test_a_table_without_labels_is_one_line(till, rows, tmp_path) -> None:
    till.release(CHALLENGER)
    bare = tmp_path / "bare.parquet"
    pl.read_parquet(rows).drop("FRAUD").write_parquet(bare)

    with pytest.raises(DataError, match="'FRAUD' is missing from the table"):
        till.judge(bare)


def test_no_table_and_an_empty_period_are_refused(till, rows) -> None:
    till.release(CHALLENGER)
    since = pl.read_parquet(rows)["AT"].max()

    with pytest.raises(JudgeRequestError, match="needs rows"):
        till.judge()
    with pytest.raises(JudgeRequestError, match="must begin before it ends"):
        till.judge(rows, since=since, until=since)
