"""The gates before a release: each stops a model for its own reason."""

from dataclasses import replace

import numpy as np
import pytest

from serving.parity import ParityBroken, ParityRecord, check_parity
from serving.scorer import Scorer
from serving.verification import LOGIT_TOLERANCE, logit_difference

CLEAN = ParityRecord(
    n_rows=10, n_replayed=5, n_different_features=0, first_different_feature=None,
    largest_logit_difference=1e-7, logit_tolerance=1e-5, n_different_decisions=0,
)  # fmt: skip


def test_a_sound_model_passes_all_gates(scorer: Scorer, table) -> None:
    frame = table(300)
    logits = scorer.score_frame(frame).logits

    record = check_parity(scorer.bundle, scorer.policy, frame, trained_logits=logits)

    record.require()
    assert (record.n_rows, record.n_replayed, record.passed) == (300, 300, True)
    assert record.to_json()["passed"] is True


def test_rows_to_replay_are_taken_evenly(scorer: Scorer, table) -> None:
    frame = table(300)
    logits = scorer.score_frame(frame).logits

    record = check_parity(
        scorer.bundle, scorer.policy, frame, trained_logits=logits, most_replayed=50
    )

    assert record.n_replayed == 50


def test_a_network_that_was_exported_wrongly_is_stopped(scorer: Scorer, table) -> None:
    frame = table(50)
    logits = scorer.score_frame(frame).logits.copy()
    logits[np.argmin(np.abs(logits[:, 1])), 1] += 3e-5

    record = check_parity(scorer.bundle, scorer.policy, frame, trained_logits=logits)

    assert not record.passed
    with pytest.raises(ParityBroken, match="Not released: logits differ by 3e-05, at most 1e-05"):
        record.require()


def test_a_feature_that_arrives_otherwise_is_stopped(scorer: Scorer, table) -> None:
    # COUNTRY is text in the table; a feature set that calls it a number reads it otherwise.
    frame = table(50)
    types = scorer.bundle.feature_set.input_types | {"AGE_DAYS": "boolean"}
    feature_set = replace(scorer.bundle.feature_set, input_types=types)
    bundle = replace(scorer.bundle, feature_set=feature_set)

    record = check_parity(
        bundle, scorer.policy, frame, trained_logits=scorer.score_frame(frame).logits
    )

    assert record.first_different_feature == "AGE_DAYS"
    assert not record.passed


def test_rows_that_no_client_could_send_are_left_out(scorer: Scorer, table) -> None:
    frame = table(20)
    frame[3, "CUSTOMER"] = None
    logits = scorer.score_frame(frame).logits

    assert check_parity(scorer.bundle, scorer.policy, frame, trained_logits=logits).n_rows == 19


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_different_features": 3, "first_different_feature": "AMOUNT"}, "first in AMOUNT"),
        ({"largest_logit_difference": 1.1e-5}, "logits differ"),
        ({"largest_logit_difference": float("nan")}, "logits differ"),
        ({"n_different_decisions": 1}, "1 of 5 rows are decided otherwise"),
    ],
)
def test_each_gate_alone_stops_a_release(change, message: str) -> None:
    CLEAN.require()

    with pytest.raises(ParityBroken, match=message):
        replace(CLEAN, **change).require()


def test_large_logits_are_compared_by_their_digits() -> None:
    """Float32 near 300 steps by 3e-5: no two machines agree on it to 1e-5."""
    expected = np.array([[-300.0, 300.0]], dtype=np.float32)
    next_float = np.nextafter(expected, np.float32(1e9))

    assert 0 < logit_difference(next_float, expected) < LOGIT_TOLERANCE
    assert logit_difference(expected * np.float32(1.0001), expected) > LOGIT_TOLERANCE
    assert np.isnan(logit_difference(expected, np.full_like(expected, np.nan)))
