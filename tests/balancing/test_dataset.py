import numpy as np
import pytest

from balancing.dataset import LabelledArrays, OneClassOnly, without_categories


def test_class_counts_are_negative_then_positive():
    arrays = without_categories(np.zeros((4, 1), np.float32), np.array([0, 1, 0, 0]))

    assert arrays.class_counts.tolist() == [3, 1]


def test_take_keeps_the_order_asked_for():
    arrays = without_categories(np.arange(3, dtype=np.float32)[:, None], np.array([0, 1, 0]))

    taken = arrays.take(np.array([2, 1]))

    assert taken.numeric[:, 0].tolist() == [2.0, 1.0]
    assert taken.label.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label", "missing"), [(np.zeros(5, np.int8), "positive"), (np.ones(5, np.int8), "negative")]
)
def test_one_class_is_refused_by_the_rows_role(label: np.ndarray, missing: str):
    arrays = without_categories(np.zeros((5, 1), np.float32), label)

    with pytest.raises(OneClassOnly, match=rf"training rows .* 5 rows and none of them {missing}"):
        arrays.require_both_classes("training")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 1), (2, 0), (3,)), "same rows"),
        (((2,), (2, 0), (2,)), "two dimensions"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(shapes: tuple, message: str):
    numeric, categorical, label = (np.zeros(shape) for shape in shapes)

    with pytest.raises(ValueError, match=message):
        LabelledArrays(numeric, categorical, label)  # type: ignore[arg-type]
