"""Segments as codes: missing and unseen ones are told from known ones."""

import numpy as np
import pytest

from balancing.calibration.segments import segment_codes


def test_codes_follow_the_order_of_the_known_segments() -> None:
    codes = segment_codes(np.array(["b", "a", None, "z"], dtype=object), ["a", "b"])

    assert codes.tolist() == [1, 0, -1, -1]


def test_text_arrays_and_lists_are_read_alike() -> None:
    assert segment_codes(np.array(["b", "a"]), ["a", "b"]).tolist() == [1, 0]
    assert segment_codes(["b", "a"], ["a", "b"]).tolist() == [1, 0]
    assert segment_codes([], ["a"]).tolist() == []


def test_a_table_of_segments_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one text per row. Got shape \(1, 2\)"):
        segment_codes([["a", "b"]], ["a"])
