"""Every kind behind one interface: identity at strength 0, C classes, JSON, rows on their own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError

from balancing.calibration.post_processing.kinds import PostProcessing

COUNTS, MEANS = (900, 80, 20), (3.0, -1.0, -2.0)
SEGMENTS = {"web": (500, 70, 15), "shop": (400, 10, 5)}

finite = st.floats(-50, 50, width=32)
three_classes = hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(3)), elements=finite)
centres = st.tuples(*[st.floats(-20, 20)] * 3)


def made(kind: str, strength: float, **changes: Any) -> PostProcessing:
    content: dict[str, Any] = {
        "class_dependent": {"gamma": strength, "class_counts": COUNTS, "mean_logits": MEANS},
        "segment_class_dependent": {
            "gamma": strength,
            "class_counts": COUNTS,
            "mean_logits": MEANS,
            "segment_counts": SEGMENTS,
        },
        "logit_adjustment": {"tau": strength, "class_counts": COUNTS},
        "temperature": {"temperature": 1 + strength},
        "tau_normalisation": {"tau": strength, "weight_norms": (2.0, 0.7, 1.0), "bias": MEANS},
    }[kind]
    return adapter().validate_python({"kind": kind, **content, **changes})


def adapter() -> TypeAdapter[PostProcessing]:
    return TypeAdapter(PostProcessing)


KINDS = (
    "class_dependent",
    "segment_class_dependent",
    "logit_adjustment",
    "temperature",
    "tau_normalisation",
)


def segment_of(logits: np.ndarray) -> np.ndarray:
    return np.array(["web", "shop", None, "kiosk"] * len(logits), dtype=object)[: len(logits)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(three_classes, centres)
def test_strength_zero_is_the_identity_to_the_last_bit(
    kind: str, logits: np.ndarray, means: tuple[float, ...]
) -> None:
    changes = {
        "class_dependent": {"mean_logits": means},
        "segment_class_dependent": {"mean_logits": means},
        "tau_normalisation": {"bias": means},
    }.get(kind, {})

    applied = made(kind, 0.0, **changes).apply(logits, segment_of(logits))

    assert applied.tobytes() == logits.astype(np.float64).tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_strength_zero_keeps_the_sign_of_a_zero(kind: str, zero: float) -> None:
    logits = np.full((4, 3), zero, dtype=np.float32)

    applied = made(kind, 0.0).apply(logits, segment_of(logits))

    assert applied.tobytes() == logits.astype(np.float64).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_strength_above_zero_moves_logits_and_leaves_the_input_alone(kind: str) -> None:
    logits = np.random.default_rng(0).normal(size=(6, 3))
    before = logits.copy()

    applied = made(kind, 0.3).apply(logits, segment_of(logits))

    assert applied.shape == logits.shape
    assert applied.dtype == np.float64
    assert (applied != before).any()
    assert logits.tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_gives_the_bits_that_many_rows_give(kind: str) -> None:
    logits = np.random.default_rng(1).normal(0, 5, (40, 3)).astype(np.float32)
    rule, segment = made(kind, 0.4), segment_of(logits)
    alone = [rule.apply(logits[at : at + 1], segment[at : at + 1]) for at in range(40)]

    assert np.concatenate(alone).tobytes() == rule.apply(logits, segment).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_survives_json(kind: str) -> None:
    rule = made(kind, 0.25)
    logits = np.random.default_rng(2).normal(size=(8, 3))
    again = adapter().validate_json(adapter().dump_json(rule))

    assert again == rule
    assert (
        again.apply(logits, segment_of(logits)).tobytes()
        == rule.apply(logits, segment_of(logits)).tobytes()
    )


def test_only_the_segment_form_treats_segments_differently() -> None:
    assert [made(kind, 0.5).is_segmented for kind in KINDS] == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("class_dependent", {"gamma": -0.1}, "greater than or equal to 0"),
        ("class_dependent", {"class_counts": (5, 0, 1)}, "class_counts must hold at least two"),
        ("class_dependent", {"mean_logits": (1.0, 2.0)}, "class_counts: 3, mean_logits: 2"),
        ("class_dependent", {"delta": 1}, "Extra inputs"),
        ("segment_class_dependent", {"segment_counts": {}}, "at least 1 item"),
        ("segment_class_dependent", {"segment_counts": {"web": (1, 2)}}, "class_counts: 3, web: 2"),
        ("segment_class_dependent", {"segment_counts": {"web": (1, -2, 0)}}, "must not be negat"),
        ("segment_class_dependent", {"prior_strength": 0}, "greater than 0"),
        ("logit_adjustment", {"tau": -1}, "greater than or equal to 0"),
        ("logit_adjustment", {"class_counts": (5, 0, 1)}, "class_counts must all be positive"),
        ("temperature", {"temperature": 0}, "greater than 0"),
        ("tau_normalisation", {"tau": float("nan")}, "finite"),
        ("tau_normalisation", {"weight_norms": (1, 0, 1)}, "weight_norms must all be positive"),
        ("tau_normalisation", {"bias": (1,)}, "weight_norms: 3, bias: 1"),
    ],
)
def test_impossible_settings_are_refused(kind: str, changes: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        made(kind, 0.5, **changes)
