"""Exported trees take the library's branch for every row, and add up the same in any company."""

import hashlib

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancing.dataset import LabelledArrays
from balancing.inference import OnnxModel
from balancing.rivals.export import trees_onnx_bytes
from balancing.rivals.lightgbm_trees import lightgbm_trees
from balancing.rivals.registry import build_rival, read_rival
from balancing.rivals.trees import BoostedTrees, Leaf, Split, at_most, below

LIBRARIES = ["lightgbm", "xgboost"]
EAGER = {
    "lightgbm": {"min_child_rows": 1, "n_leaves": 15, "learning_rate": 0.5},
    "xgboost": {"min_child_weight": 0.0, "depth": 4, "learning_rate": 0.5, "row_share": 1.0},
}
INFINITY = np.float32(np.inf)


def _fitted(kind, arrays, *, n_rounds=5, **more):
    pytest.importorskip(kind)
    rival = build_rival(read_rival({"kind": kind, **EAGER[kind], **more}))
    return rival.fit(arrays, n_rounds=n_rounds, n_threads=1)


def _exported(fitted, arrays) -> bytes:
    return trees_onnx_bytes(
        fitted.trees(),
        n_numeric=arrays.numeric.shape[1],
        n_categorical=arrays.categorical.shape[1],
    )


def _assert_same(fitted, content: bytes, rows: LabelledArrays) -> None:
    logits = OnnxModel(content).logits(rows.numeric, rows.categorical)
    expected = fitted.log_odds(rows) / 2

    np.testing.assert_array_equal(logits[:, 0], -logits[:, 1])
    # XGBoost adds its few leaves in float32; another leaf would be thousands of this away.
    np.testing.assert_allclose(logits[:, 1], expected, rtol=1e-6, atol=1e-6)


def _on_every_bound(boosted: BoostedTrees, arrays: LabelledArrays) -> LabelledArrays:
    """Return rows that lie on each bound and right beside it, and have each code and one more."""
    numeric, categorical = [], []
    d_numeric = arrays.numeric.shape[1]
    for split in (node for tree in boosted.trees for node in tree if isinstance(node, Split)):
        if split.bound is None:
            for code in (*split.codes, max(split.codes) + 1, 10_000):
                row = arrays.categorical[0].copy()
                row[split.column - d_numeric] = code
                numeric.append(arrays.numeric[0])
                categorical.append(row)
            continue
        bound = np.float32(split.bound)
        with np.errstate(over="ignore"):
            above, under = np.nextafter(bound, INFINITY), np.nextafter(bound, -INFINITY)
        for value in (bound, above, under, np.nan, INFINITY, -INFINITY, 0.0, -0.0, 1e-36, -1e-36):
            row = arrays.numeric[0].copy()
            row[split.column] = value
            numeric.append(row)
            categorical.append(arrays.categorical[0])
    if not numeric:
        return arrays
    label = np.zeros(len(numeric), dtype=np.int8)
    return LabelledArrays(np.array(numeric), np.array(categorical), label)


NUMBERS = st.floats(width=32, allow_subnormal=False)


@st.composite
def tables(draw, min_rows=20) -> LabelledArrays:
    """Rows of two numbers, missing and infinite ones among them, and two codes."""
    n_rows = draw(st.integers(min_rows, 60))
    pool = np.array(draw(st.lists(NUMBERS, min_size=2, max_size=12)), dtype=np.float32)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    label = rng.permutation(np.arange(n_rows) % 3 == 0).astype(np.int8)
    numeric = rng.choice(pool, size=(n_rows, 2))
    categorical = np.stack([rng.integers(0, 4, n_rows), rng.integers(0, 40, n_rows)], axis=1)
    return LabelledArrays(numeric, categorical, label)


@pytest.mark.parametrize("kind", LIBRARIES)
@settings(max_examples=40)
@given(train=tables(), fresh=tables())
def test_any_row_takes_the_librarys_branch(kind, train, fresh):
    fitted = _fitted(kind, train)
    content = _exported(fitted, train)

    for rows in (train, fresh, _on_every_bound(fitted.trees(), train)):
        _assert_same(fitted, content, rows)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_rows_on_a_bound_beside_it_and_without_a_value_take_the_librarys_branch(kind, make_toy):
    toy = make_toy(2000)
    toy.numeric[::7, 2] = np.inf
    fitted = _fitted(kind, toy, n_rounds=30)
    rows = _on_every_bound(fitted.trees(), toy)

    assert rows.n_rows > 500
    assert 10_000 in rows.categorical
    _assert_same(fitted, _exported(fitted, toy), rows)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_gap_where_training_had_none_takes_the_librarys_branch(kind, make_toy):
    toy, fresh = make_toy(), make_toy(seed=1)
    toy.numeric[:] = np.nan_to_num(toy.numeric)
    fresh.numeric[:] = np.nan
    fitted = _fitted(kind, toy)

    _assert_same(fitted, _exported(fitted, toy), fresh)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_numbers_alone_and_categories_alone_are_exported(kind, make_toy):
    toy = make_toy()
    numbers = LabelledArrays(toy.numeric, toy.categorical[:, :0], toy.label)
    categories = LabelledArrays(toy.numeric[:, :0], toy.categorical, toy.label)

    for arrays in (numbers, categories):
        fitted = _fitted(kind, arrays)
        _assert_same(fitted, _exported(fitted, arrays), arrays)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_what_the_weight_of_positives_shifts_is_taken_out(kind, make_toy):
    toy = make_toy()
    fitted = _fitted(kind, toy, positive_weight=5.0)

    _assert_same(fitted, _exported(fitted, toy), toy)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_logits_are_the_same_to_the_bit_in_any_company_and_on_any_number_of_threads(kind, make_toy):
    toy = make_toy(3000)
    content = _exported(_fitted(kind, toy, n_rounds=150), toy)
    one, two = OnnxModel(content), OnnxModel(content, threads=2)
    together = one.logits(toy.numeric, toy.categorical)

    alone = [one.logits(toy.numeric[[at]], toy.categorical[[at]]) for at in range(50)]

    assert np.array_equal(np.concatenate(alone), together[:50])
    assert np.array_equal(two.logits(toy.numeric, toy.categorical), together)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_the_bytes_depend_on_the_model_alone(kind, make_toy):
    toy = make_toy()

    first, again = (
        hashlib.sha256(_exported(_fitted(kind, toy), toy)).hexdigest() for _ in range(2)
    )
    other = hashlib.sha256(_exported(_fitted(kind, toy, n_rounds=6), toy)).hexdigest()

    assert first == again
    assert first != other


def test_rounds_after_the_last_one_kept_are_left_out(make_toy):
    fitted = _fitted("lightgbm", make_toy(), n_rounds=9)

    assert len(lightgbm_trees(fitted.model, n_rounds=4, shift=0.0).trees) == 4


def test_zeros_taken_for_missing_are_refused(make_toy):
    lightgbm = pytest.importorskip("lightgbm")
    toy = make_toy()
    settings = {"objective": "binary", "zero_as_missing": True, "verbosity": -1, "num_threads": 1}
    model = lightgbm.train(settings, lightgbm.Dataset(toy.numeric, toy.label), 1)

    with pytest.raises(ValueError, match="must be NaN. Got missing_type=Zero"):
        lightgbm_trees(model, n_rounds=1, shift=0.0)


def test_trees_that_never_split_add_a_constant():
    boosted = BoostedTrees(((Leaf(0.5),), (Leaf(0.25),)), base=-1.75)

    content = trees_onnx_bytes(boosted, n_numeric=1, n_categorical=0)

    logits = OnnxModel(content).logits(np.array([[np.nan], [3.0]], dtype=np.float32))
    assert logits.tolist() == [[0.5, -0.5], [0.5, -0.5]]


def test_every_codes_list_of_a_set_is_asked_for():
    # 0 to 3 together are a row of codes; 70 lies beyond what fits the bits of a word.
    codes = (0, 1, 3, 31, 32, 63, 70)
    tree = (Split(1, None, codes, missing_is_yes=False, yes=1, no=2), Leaf(2.0), Leaf(-2.0))

    content = trees_onnx_bytes(BoostedTrees((tree,), base=0.0), n_numeric=1, n_categorical=1)

    asked = np.arange(80)
    logits = OnnxModel(content).logits(np.zeros((80, 1), dtype=np.float32), asked[:, None])
    assert (logits[:, 1] == np.where(np.isin(asked, codes), 1.0, -1.0)).all()


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (0.5, 0.5),
        (0.1, np.nextafter(np.float32(0.1), -INFINITY)),
        (1e300, np.finfo(np.float32).max),
    ],
)
def test_a_bound_is_rounded_down_to_float32(bound, expected):
    # The float32 nearest to 0.1 lies above it.
    assert at_most(bound) == expected


def test_less_than_a_bound_is_at_most_the_number_below_it():
    one = np.float32(1)

    assert below(1.0) < one
    assert np.nextafter(np.float32(below(1.0)), INFINITY) == one


def test_the_graph_names_nothing_but_itself(make_toy):
    toy = make_toy()

    model = onnx.load_from_string(_exported(_fitted("lightgbm", toy), toy))

    assert [given.name for given in model.graph.input] == ["numeric", "categorical"]
    assert [given.name for given in model.graph.output] == ["logits"]
    assert (model.producer_name, model.graph.name) == ("", "whitecrow")
