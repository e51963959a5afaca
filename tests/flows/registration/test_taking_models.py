"""A user's ONNX file: what is taken, what is refused, and that wrapping changes no score."""

from dataclasses import dataclass

import numpy as np
import onnx
import polars as pl
import pytest

from balancing.inference import OnnxModel
from features.contract import parse_contract
from features.feature_set import FeatureSet
from flows.fitting import FeatureRows
from flows.moments import RequestError
from flows.registration import user_model
from flows.registration.config import RegisteredConfig
from flows.registration.registering import take_registered
from flows.registration.user_model import ModelRefused, read_user_model
from flows.request import registration_request

N_ROWS = 200
# Log odds = A - B + C, gaps as 0.
MATRIX = "float[N, 3] x"
FILLED = "nan = IsNaN(x) zero = Constant<value_float = 0.0>() f = Where(nan, zero, x)"
WEIGHTS = "w = Constant<value = float[3, 1] {1, -1, 1}>()"
LOG_ODDS = f"{FILLED} {WEIGHTS} l = MatMul(f, w)"


@dataclass(frozen=True)
class Graph:
    """A user's graph in the words of ``onnx.parser``, and what is said of it."""

    outputs: str
    body: str
    message: str = ""
    inputs: str = MATRIX
    stated: str | None = None
    opset: int = 17
    domains: str = ""

    def written(self, path):
        """The path, with the graph in it."""
        header = f'<ir_version: 8, opset_import: ["" : {self.opset}{self.domains}]>'
        text = f"{header} g ({self.inputs}) => ({self.outputs}) {{ {self.body} }}"
        onnx.save(onnx.parser.parse_model(text), path)
        return path


PLAIN = Graph("float[N, 1] l", LOG_ODDS)


@pytest.fixture(scope="module")
def rows() -> FeatureRows:
    """Two numbers with gaps and a category, with labels."""
    rng = np.random.default_rng(0)
    columns = {"numeric": ["A", "B"], "categorical": ["C"]}
    contract = parse_contract(
        {"name": "mine", "columns": columns, "label": {"column": "Y"}, "split": {"by": "random"}},
        source="test",
    )
    a = rng.normal(size=N_ROWS)
    table = pl.DataFrame(
        {
            "A": [None if at % 9 == 0 else a[at] for at in range(N_ROWS)],
            "B": rng.normal(size=N_ROWS),
            "C": rng.choice(["x", "y", "z"], N_ROWS),
            "label": (a > 1).astype(int),
            "part": np.resize(["train", "train", "validation", "calibration", "test"], N_ROWS),
        }
    )
    input_types = {"A": "number", "B": "number", "C": "text"}
    feature_set = FeatureSet.fit(contract, table, input_types=input_types, min_count=1)
    return FeatureRows.of(table, feature_set)


def _taken(rows: FeatureRows, path, output=None):
    config = RegisteredConfig(file=str(path), sha256=read_user_model(path).sha256, output=output)
    return take_registered(rows, config)


def _expected(rows: FeatureRows) -> np.ndarray:
    """The log odds, added up here."""
    numeric = np.nan_to_num(rows.arrays.numeric.astype(np.float64))
    return numeric[:, 0] - numeric[:, 1] + rows.arrays.categorical[:, 0]


PROBABILITY = f"{LOG_ODDS} p = Sigmoid(l)"
LOGITS = f"{LOG_ODDS} zeros = Sub(l, l) z = Concat<axis = 1>(zeros, l)"
SOFTMAX = f"{LOGITS} o = Softmax(z)"
FLAT = f"{LOG_ODDS} shape = Constant<value_ints = [-1]>() o = Reshape(l, shape)"
CENTRED = f"{LOG_ODDS} m = ReduceMean<axes = [0]>(l) o = Sub(l, m)"
DROPPED = (
    f"{LOG_ODDS} ratio = Constant<value_float = 0.5>() on = Constant<value = bool {{1}}>() "
    "o = Dropout(l, ratio, on)"
)
COLUMN, PAIR, THREE = "float[N, 1] o", "float[N, 2] o", "float[N, 3] o"


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        (PLAIN, "log_odds"),
        (Graph("float[N] o", FLAT), "log_odds"),
        (Graph("float[N, 2] z", LOGITS), "logits"),
        (Graph("float[N, 2] z", LOGITS, stated="logits"), "logits"),
        (Graph(PAIR, SOFTMAX), "probability"),
        (Graph("float[N, 1] p", PROBABILITY, stated="probability"), "probability"),
        (Graph("double[N, 1] o", f"{LOG_ODDS} o = Cast<to = 11>(l)"), "log_odds"),
        (Graph("int64[N, 1] c, float[N, 1] l", f"{LOG_ODDS} c = Cast<to = 7>(l)"), "log_odds"),
    ],
)
def test_every_kind_of_output_becomes_the_same_logits(graph, found, rows, tmp_path):
    taken = _taken(rows, graph.written(tmp_path / "m.onnx"), graph.stated)

    assert taken.how["output"] == found
    arrays = rows.arrays
    served = OnnxModel(taken.onnx).logits(arrays.numeric, arrays.categorical)
    half = _expected(rows) / 2
    np.testing.assert_allclose(served, np.stack([-half, half], axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(taken.logits(arrays), served, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        taken.calibration_logits, served[rows.index("calibration")], rtol=1e-6, atol=1e-6
    )


def test_numbers_and_codes_may_come_apart(rows, tmp_path):
    body = (
        "nan = IsNaN(numeric) zero = Constant<value_float = 0.0>() f = Where(nan, zero, numeric) "
        "w = Constant<value = float[2, 1] {1, -1}>() n = MatMul(f, w) "
        "c = Cast<to = 1>(categorical) l = Add(n, c)"
    )
    inputs = "float[N, 2] numeric, int64[N, 1] categorical"

    taken = _taken(rows, Graph("float[N, 1] l", body, inputs=inputs).written(tmp_path / "m.onnx"))

    served = OnnxModel(taken.onnx).logits(rows.arrays.numeric, rows.arrays.categorical)
    np.testing.assert_allclose(2 * served[:, 1], _expected(rows), rtol=1e-5, atol=1e-5)


def test_probabilities_of_0_and_1_stay_finite(rows, tmp_path):
    steps = Graph(COLUMN, f"{LOG_ODDS} s = Sign(l) o = Relu(s)")

    taken = _taken(rows, steps.written(tmp_path / "m.onnx"), "probability")

    log_odds = 2 * taken.logits(rows.arrays)[:, 1]
    assert np.abs(log_odds).max() == pytest.approx(np.log(1e7), rel=1e-3)


def test_the_bytes_depend_on_the_users_graph_alone(rows, tmp_path):
    made = [PLAIN.written(tmp_path / name) for name in ("a", "b")]

    assert _taken(rows, made[0]).onnx == _taken(rows, made[1]).onnx


BAD_FILES = [
    Graph("string[N, 3] s", "s = Cast<to = 8>(x)", "one output of numbers.*s .string"),
    Graph("float[N, 1] l, float[N, 1] p", PROBABILITY, "one output of numbers.*zipmap=False"),
    Graph(THREE, "o = mine.Twice(x)", "'Twice' of 'mine'. Only ONNX", domains=', "mine" : 1'),
    Graph(THREE, "o = RandomNormalLike(x)", "draws random numbers .RandomNormalLike"),
    Graph(THREE, "o = Neg(x)", "opset 13 or newer. Got 11", opset=11),
    Graph(THREE, "o = Neg(absent)", "is not valid ONNX"),
    Graph(COLUMN, "o = Add(A, B)", "One input a column", inputs="float[N, 1] A, float[N, 1] B"),
    Graph("double[N, 3] o", "o = Neg(x)", "one float32 matrix.*x .double", inputs="double[N, 3] x"),
    Graph(
        THREE,
        "o = Add(numeric, categorical)",
        r"categorical \(int64\). Got numeric",
        inputs="float[N, 3] numeric, float[N, 1] categorical",
    ),
    Graph("float[1, 3] o", "o = Neg(x)", "exactly 1 rows at once", inputs="float[1, 3] x"),
]


@pytest.mark.parametrize("graph", BAD_FILES, ids=lambda graph: graph.message)
def test_a_file_that_cannot_be_served_is_refused_unseen(graph, tmp_path):
    path = graph.written(tmp_path / "m.onnx")

    with pytest.raises(ModelRefused, match=graph.message):
        read_user_model(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 a zip file", b"\x08\x08"])
def test_what_is_not_onnx_is_refused(content, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelRefused, match=r"m\.onnx is not an ONNX model"):
        read_user_model(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelRefused, match=r"Cannot read .*absent\.onnx: No such file"):
        read_user_model(tmp_path / "absent.onnx")


def test_a_file_too_large_is_not_read(tmp_path, monkeypatch):
    path = PLAIN.written(tmp_path / "m.onnx")
    monkeypatch.setattr(user_model, "MOST_BYTES", 100)

    with pytest.raises(ModelRefused, match="must not be larger than 0 MiB"):
        read_user_model(path)


def test_weights_in_another_file_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 1] l) '
        "<float[3, 1] w = {1, 2, 3}> { l = MatMul(x, w) }"
    )
    weights = onnx.numpy_helper.from_array(np.ones((3, 1), dtype=np.float32), "w")
    model.graph.initializer[0].CopyFrom(weights)
    onnx.save(model, path, save_as_external_data=True, size_threshold=0)

    with pytest.raises(ModelRefused, match="keeps weights in another file .'w'.. Export it as one"):
        read_user_model(path)


MISBEHAVED = [
    Graph(
        "float[N, 5] o",
        "o = Neg(x)",
        "must have 3 columns: the feature set has 2 numbers and 1 codes. Got 5",
        inputs="float[N, 5] x",
    ),
    Graph(COLUMN, f"{WEIGHTS} o = MatMul(x, w)", "score every row. 23 of 200 rows get NaN"),
    Graph(COLUMN, CENTRED, "depends on the rows beside it"),
    Graph(COLUMN, DROPPED, "other scores when they are scored again"),
    Graph(THREE, "s = Constant<value_ints = [7, 3]>() o = Reshape(x, s)", "not run on 200 rows"),
    Graph("float[M, 1] o", "o = ReduceMean<axes = [0, 1]>(x)", "a line a row"),
    Graph("float[N, 3] f", FILLED, r"\(n, 2\), \(n, 1\) or \(n,\). Got \(200, 3\)"),
    Graph("double[N, 3] o", "d = Cast<to = 11>(x) o = Tan(d)", "does not load the model"),
    Graph("float[N, 1] p", PROBABILITY, "may be a probability or log odds. Say which"),
    Graph("float[N, 1] l", LOG_ODDS, "does not fit .* values from", stated="probability"),
    Graph("float[N, 1] l", LOG_ODDS, "does not fit .* logits have two", stated="logits"),
    Graph("float[N, 2] z", LOGITS, "does not fit .* no probabilities", stated="probability"),
    Graph(PAIR, SOFTMAX, "--output logits does not fit .* adds up to 1", stated="logits"),
]


@pytest.mark.parametrize("graph", MISBEHAVED, ids=lambda graph: graph.message)
def test_a_model_that_does_not_behave_on_the_data_is_refused(graph, rows, tmp_path):
    path = graph.written(tmp_path / "m.onnx")

    with pytest.raises(ModelRefused, match=graph.message):
        _taken(rows, path, graph.stated)


def test_a_file_that_changed_meanwhile_is_refused(rows, tmp_path):
    config = RegisteredConfig(file=str(PLAIN.written(tmp_path / "m.onnx")), sha256="0" * 64)

    with pytest.raises(ModelRefused, match="has changed since it was asked for"):
        take_registered(rows, config)


def test_an_output_that_there_is_not_is_refused(tmp_path):
    path = PLAIN.written(tmp_path / "m.onnx")

    with pytest.raises(RequestError, match="--output must be one of logits, .* Got 'odds'"):
        registration_request(path, output="odds", data="d", contract="c", actor="a")
