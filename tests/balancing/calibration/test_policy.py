"""The policy as an immutable object: its id, its JSON, its model, its golden decisions."""

import json
from typing import Any

import numpy as np
import pytest

from balancing.calibration.calibrator import PlattCalibrator
from balancing.calibration.policy import GoldenDecisions, Policy, PolicyMismatch
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.prior_shift import PriorShift
from balancing.metrics.ranking import average_precision
from infra.errors import InputError
from infra.exploration import Exploration


def changed(policy: Policy, **changes: Any) -> Policy:
    """The same policy with other content, sealed again."""
    content = {name: getattr(policy, name) for name in type(policy).model_fields}
    del content["policy_id"]
    return Policy.seal(**(content | changes))


def test_a_policy_survives_json_byte_for_byte(policy: Policy) -> None:
    again = Policy.from_json(policy.to_json())

    assert again.to_json() == policy.to_json()
    assert again.policy_id == policy.policy_id


def test_the_same_content_has_the_same_id_and_other_content_another(policy: Policy) -> None:
    assert changed(policy).policy_id == policy.policy_id
    assert changed(policy, reason="another").policy_id != policy.policy_id


def test_exploration_is_part_of_a_policy_and_names_no_older_one_anew(policy: Policy) -> None:
    exploring = changed(policy, exploration=Exploration(rate=0.01, max_amount=100.0))

    assert "exploration" not in json.loads(policy.to_json())
    assert exploring.policy_id != policy.policy_id
    assert Policy.from_json(exploring.to_json()) == exploring
    logits = np.array(policy.golden.logits)
    assert (exploring.decide(logits)[1] == policy.decide(logits)[1]).all()
    exploring.check_golden()


@pytest.mark.parametrize("rate", [0, -0.1, 0.51, "much"])
def test_a_policy_at_no_possible_rate_is_refused(policy: Policy, rate: Any) -> None:
    content = json.loads(policy.to_json()) | {"exploration": {"rate": rate}}

    with pytest.raises(PolicyMismatch, match=r"v3.json is no readable policy: exploration\.rate"):
        Policy.from_json(json.dumps(content), source="v3.json")


@pytest.mark.parametrize(
    "path", [("actor",), ("thresholds", "review", "threshold"), ("calibrator", "slope")]
)
def test_changed_content_is_refused(policy: Policy, path: tuple[str, ...]) -> None:
    content = json.loads(policy.to_json())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "eve" if path == ("actor",) else place[path[-1]] * 0.99

    with pytest.raises(PolicyMismatch, match="v3.json was changed after it was made"):
        Policy.from_json(json.dumps(content), source="v3.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "v3.json is no readable policy: the text"),
        ('{"format": 1}', r"v3.json is a policy of another format .* \(format 2\)"),
        ('{"format": 2}', "v3.json is no readable policy: policy_id: Field required"),
    ],
)
def test_unreadable_text_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Policy.from_json(text, source="v3.json")

    assert "\n" not in str(caught.value)


def test_a_policy_for_another_model_is_refused(policy: Policy) -> None:
    policy.verify("ab" * 32)
    with pytest.raises(PolicyMismatch, match="was made for model abababababab, not for cdcdcd"):
        policy.verify("cd" * 32)


def test_golden_decisions_hold_and_a_difference_is_refused(policy: Policy) -> None:
    policy.check_golden()
    assert 0 < len(policy.golden.decision) <= 64
    assert set(policy.golden.decision) == {0, 1, 2}

    other = GoldenDecisions(
        logits=policy.golden.logits,
        risk_score=policy.golden.risk_score,
        decision=(*policy.golden.decision[:-1], 2),
    )
    with pytest.raises(PolicyMismatch, match=r"decides 1 of \d+ golden rows otherwise"):
        changed(policy, golden=other).check_golden()


def test_one_row_gives_the_bits_that_many_rows_give(policy: Policy, rows: Any) -> None:
    """The service scores single rows, batch scoring all at once."""
    together = policy.apply(rows.logits)
    alone = [policy.apply(rows.logits[at : at + 1]) for at in range(300)]

    for name in ("risk_score", "decision", "false_positive_rate", "alerts_per_day"):
        single = np.concatenate([getattr(each, name) for each in alone])
        assert single.tobytes() == getattr(together, name)[:300].tobytes(), name


def test_deciding_keeps_the_ranking(policy: Policy, rows: Any) -> None:
    scored = policy.apply(rows.logits).risk_score

    assert average_precision(rows.label, scored) == average_precision(rows.label, rows.log_odds)


def test_every_answer_has_one_value_per_row(policy: Policy, rows: Any) -> None:
    decisions = policy.apply(rows.logits[:7], amount_minor=rows.amount_minor[:7])

    assert decisions.risk_score.shape == decisions.decision.shape == (7,)
    assert decisions.risk_score.dtype == np.float64
    assert decisions.decision.dtype == np.int8
    assert decisions.alerts_per_day is not None
    assert decisions.alerts_per_day.shape == decisions.false_positive_rate.shape == (7,)


def test_no_rows_give_no_decisions(policy: Policy) -> None:
    assert policy.apply(np.empty((0, 2), dtype=np.float32)).decision.shape == (0,)


def test_a_prior_shift_multiplies_the_odds(policy: Policy, rows: Any) -> None:
    shifted = changed(
        policy, prior_shift=PriorShift(trained_prevalence=0.5, deployed_prevalence=0.25)
    )
    before, after = (each.risk_score(rows.logits[:50]) for each in (policy, shifted))

    np.testing.assert_allclose(after / (1 - after), before / (1 - before) / 3, rtol=1e-9)


def test_gamma_zero_leaves_the_score_to_the_last_bit(policy: Policy, rows: Any) -> None:
    calibrator = PlattCalibrator(slope=0.7, intercept=-1.0)
    plain = changed(policy, calibrator=calibrator)

    assert isinstance(plain.post_processing, ClassDependentTemperatures)
    assert plain.post_processing.gamma == 0
    expected = calibrator.apply(rows.log_odds)
    assert plain.risk_score(rows.logits).tobytes() == expected.tobytes()


def test_nan_logits_are_refused(policy: Policy) -> None:
    with pytest.raises(ValueError, match="logits must not hold NaN"):
        policy.apply(np.array([[0.1, np.nan]]))
