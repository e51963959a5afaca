"""Thresholds by amount and by segment decide alike in tuning, in batch and in the service."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import DECISION_NAMES
from features.ingestion.conforming import conform
from features.segments import segment_keys
from flows.calibration_rows import logits_of
from flows.featurization import TABLE_FILE
from flows.kept_rows import CALIBRATION_FILE
from flows.past_rows import scored_columns, with_past
from infra.ledger import Ledger
from serving.model_store import ModelStore
from serving.prepared_rows import velocity_of
from serving.request_json import parse_row
from serving.requests import request_rows
from serving.scorer import Scorer
from serving.verification import load_scorer

BY_AMOUNT_AND_SEGMENT = """
review = {objective = "cost", review_cost = 5, friction_cost = 1}
decline = {objective = "max_fpr", max_fpr = 0.02}
segments = ["ENTRY_MODE", "is_night"]
"""


def served_decisions(scorer: Scorer, rows: pl.DataFrame, *, at_once: int) -> list[str]:
    """Decisions on rows that arrive as JSON, some in one request."""
    contract, types = scorer.bundle.contract, scorer.bundle.feature_set.input_types
    sent = [parse_row(msgspec.json.encode(row)) for row in request_rows(rows, contract, types)]
    velocity = velocity_of(rows, contract)
    starts = range(0, len(sent), at_once)
    return [
        answer.decision
        for at in starts
        for answer in scorer.score_rows(sent[at : at + at_once], velocity[at : at + at_once])
    ]


def tuned_decisions(policy: Policy, rows: pl.DataFrame) -> list[str]:
    """Decisions on kept rows, as the thresholds were tuned on them."""
    _, decision = policy.decide(
        logits_of(rows),
        amount_minor=rows["amount_minor"].cast(pl.Float64).to_numpy(),
        segment=segment_keys(rows, policy.segment_columns),
    )
    return [DECISION_NAMES[each] for each in decision]


@pytest.fixture(scope="module")
def promoted(whitecrow, trained, tmp_path_factory) -> Path:
    """A copy of the state folder where a policy by amount and by segment is live."""
    home = Path(shutil.copytree(trained.home, tmp_path_factory.mktemp("promoted") / "home"))
    policy = home.parent / "policy.toml"
    policy.write_text(BY_AMOUNT_AND_SEGMENT)
    for command in (
        ("recalibrate", "stream", trained.stream, "--policy", policy, "--reason", "by amount"),
        ("promote", "stream:1", "--policy", "2", "--reason", "by amount"),
    ):
        done = whitecrow(home, *command, "--json")
        assert done.code == 0, done.err
    return home


@pytest.mark.xdist_group("trained")
def test_the_live_policy_goes_by_amount_and_by_segment(promoted) -> None:
    policy = ModelStore(promoted).policy("stream", "2")

    assert policy.needs_amounts
    assert policy.needs_segments
    assert policy.segment_columns == ("ENTRY_MODE", "is_night")
    assert "chip | 0.0" in {each.segment for each in policy.thresholds.decline.segments}
    policy.check_golden()


@pytest.mark.xdist_group("trained")
def test_tuning_batch_and_service_give_one_decision(whitecrow, promoted, frame, tmp_path) -> None:
    frame.write_parquet(tmp_path / "stream.parquet")
    done = whitecrow(
        promoted, "score", tmp_path / "stream.parquet", "--model", "stream", "--no-reasons",
        "-o", tmp_path / "scored.parquet", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    scorer = load_scorer(ModelStore(promoted), "stream")
    kept = pl.read_parquet(promoted / "calibration" / "stream" / "1" / CALIBRATION_FILE)
    answers = kept.select("row_id").join(
        pl.read_parquet(tmp_path / "scored.parquet"), left_on="row_id", right_on="id", how="left"
    )
    rows = conform(scored_columns(frame, scorer.bundle.contract), scorer.bundle.contract)
    rows = with_past(rows, scorer.bundle.contract)
    served_rows = kept.select("row_id").join(
        rows, left_on="row_id", right_on="TRANSACTION_ID", how="left", coalesce=False
    )

    tuned = tuned_decisions(scorer.policy, kept)
    assert set(tuned) == set(DECISION_NAMES)
    # Row rules may send a row to review on top of the policy; none is broken here.
    assert answers["flags"].list.len().sum() == 0
    assert answers["decision"].to_list() == tuned
    assert served_decisions(scorer, served_rows, at_once=256) == tuned
    assert served_decisions(scorer, served_rows.tail(100), at_once=1) == tuned[-100:]


@pytest.mark.xdist_group("trained")
def test_an_anchored_policy_keeps_the_false_positive_rates(
    whitecrow, promoted, trained, tmp_path
) -> None:
    home = Path(shutil.copytree(promoted, tmp_path / "home"))
    done = whitecrow(
        home, "recalibrate", "stream", trained.stream, "--anchor", 1, "--reason", "keep", "--json"
    )
    assert done.code == 0, done.err
    old, new = (ModelStore(home).policy("stream", version) for version in ("1", "3"))

    for word in ("review", "decline"):
        before, after = (getattr(each.thresholds, word) for each in (old, new))
        assert after.reason.startswith("Anchored at the false-positive rate")
        assert after.achieved.false_positive_rate == before.achieved.false_positive_rate
    assert "Anchored at" in json.dumps(done.json["thresholds"])
    assert Ledger(home / "whitecrow.db").entries("stream")[-1].reason == "keep"


CREDITCARD_POLICY = """
[policy]
review = {objective = "cost", review_cost = 2, friction_cost = 1}
decline = {objective = "max_fpr", max_fpr = 0.002}
segments = ["size"]

[derived]
size = "CASE WHEN Amount < 1 THEN 0 WHEN Amount < 100 THEN 1 ELSE 2 END"
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("real")
def test_every_test_row_of_creditcard_is_decided_alike(
    whitecrow, train, data_root, tmp_path
) -> None:
    """56,962 rows: as evaluated from the feature table, from a file, and as requests."""
    shipped = (files("features") / "contracts" / "creditcard.toml").read_text("utf-8")
    contract = tmp_path / "contract.toml"
    contract.write_text(shipped.split("[policy]")[0] + CREDITCARD_POLICY)
    home = tmp_path / "home"
    done = train(home, data_root / "creditcard.parquet", contract=contract)
    assert done.code == 0, done.err
    scorer = load_scorer(ModelStore(home), "creditcard", threads=2)
    policy = scorer.policy
    assert policy.needs_amounts
    assert policy.needs_segments

    (table_path,) = (home / "features").rglob(TABLE_FILE)
    table = pl.read_parquet(table_path).filter(pl.col("part") == "test")
    arrays = scorer.bundle.feature_set.encode(table)
    _, decision = policy.decide(
        scorer.model.logits(arrays.numeric, arrays.categorical),
        amount_minor=table["amount_minor"].cast(pl.Float64).to_numpy(),
        segment=segment_keys(table, policy.segment_columns),
    )
    tuned = [DECISION_NAMES[each] for each in decision]
    assert len(tuned) > 56_900
    assert np.bincount(decision).min() > 0

    (passed,) = home.rglob("data_passed.parquet")
    raw = pl.read_parquet(passed)[table["row_id"].cast(pl.UInt32)]
    raw.write_parquet(tmp_path / "test.parquet")
    done = whitecrow(
        home, "score", tmp_path / "test.parquet", "--model", "creditcard", "--no-reasons",
        "-o", tmp_path / "scored.parquet", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert pl.read_parquet(tmp_path / "scored.parquet")["decision"].to_list() == tuned
    rows = conform(raw, scorer.bundle.contract)
    assert served_decisions(scorer, rows, at_once=500) == tuned
    assert served_decisions(scorer, rows.tail(500), at_once=1) == tuned[-500:]
