"""Whatever bytes come in, the parser answers with a row or with a refusal of the one shape."""

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.refusals import RequestRefused
from serving.request_json import MAX_BODY_BYTES, MAX_DEPTH, MAX_TEXT, parse_batch, parse_row
from serving.scorer import Scorer

STATUSES = {400, 413, 422}

numbers = (
    st.integers()
    | st.integers(min_value=10**300, max_value=10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
)
scalars = st.none() | st.booleans() | numbers | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
FIELDS = [
    "ORDER_ID",
    "PLACED_AT",
    "AMOUNT",
    "CUSTOMER",
    "AGE_DAYS",
    "DISTANCE",
    "COUNTRY",
    "DEVICE",
]


def parsed(body: bytes) -> Any:
    """The row in a body, or its refusal, which has the one shape and repeats nothing long."""
    outcome: Any
    try:
        outcome = parse_row(body)
    except RequestRefused as refusal:
        outcome = refusal
    if isinstance(outcome, RequestRefused):
        error = outcome.to_json()["error"]
        assert outcome.status in STATUSES
        assert set(error) == {"code", "message", "field", "retry"}
        assert len(json.dumps(error)) < 1000
    return outcome


@given(st.binary(max_size=2000))
def test_any_bytes(body: bytes) -> None:
    parsed(body)
    for what in ("rows", "labels"):
        with contextlib.suppress(RequestRefused):
            parse_batch(body, what)


@given(st.lists(st.tuples(st.text(max_size=5), values), max_size=8))
@example([("a", "x:y"), ("a", 1)])
@example([("", None), ("", None)])
@example([('"', 1), ("\\", 2)])
def test_a_field_named_twice_is_always_found(pairs: list[tuple[str, Any]]) -> None:
    members = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs)
    body = f"{{{', '.join(members)}}}".encode()
    names = [name for name, _ in pairs]

    outcome = parsed(body)

    if len(set(names)) < len(names):
        assert isinstance(outcome, RequestRefused)
    elif not isinstance(outcome, RequestRefused):
        assert set(outcome) == set(names)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), values, max_size=9))
@settings(max_examples=50)
def test_any_object_is_scored_or_refused(scorer: Scorer, row: dict[str, Any]) -> None:
    outcome = parsed(json.dumps(row).encode())
    if isinstance(outcome, RequestRefused):
        return
    (scored,) = scorer.score_rows([outcome])
    if isinstance(scored, RequestRefused):
        assert scored.status == 422
    else:
        assert math.isfinite(scored.risk_score)


@given(st.sampled_from(FIELDS), values)
@settings(max_examples=150)
def test_a_sound_row_with_one_strange_value_is_scored_or_refused(
    scorer: Scorer, shop_row, name: str, value: Any
) -> None:
    outcome = parsed(json.dumps(shop_row(**{name: value})).encode())
    if isinstance(outcome, RequestRefused):
        return
    (scored,) = scorer.score_rows([outcome])
    if isinstance(scored, RequestRefused):
        assert (scored.status, scored.field in {name, None}) == (422, True)
    else:
        assert 0 <= scored.risk_score <= 1


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "01",
                                  "+1", ".5", "1.", "1_000", "'1'", "TRUE", "\ufeff1"])  # fmt: skip
def test_what_is_no_json_number_is_malformed(text: str) -> None:
    outcome = parsed(f'{{"AMOUNT": {text}}}'.encode())

    assert (outcome.code, outcome.status) == ("malformed_json", 400)


@pytest.mark.parametrize("digits", [20, 310, 5000, 100_000])
def test_huge_integers_are_refused_not_worked_on(scorer: Scorer, shop_row, digits: int) -> None:
    body = json.dumps(shop_row(AMOUNT=0)).replace('"AMOUNT": 0', f'"AMOUNT": {"9" * digits}')

    outcome = parsed(body.encode())

    if not isinstance(outcome, RequestRefused):
        (outcome,) = scorer.score_rows([outcome])
    assert isinstance(outcome, RequestRefused) or digits == 20


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "utf-8-sig", "cp500"])
def test_other_encodings_are_refused(shop_row, encoding: str) -> None:
    body = json.dumps(shop_row(COUNTRY="Österreich"), ensure_ascii=False).encode(encoding)

    assert (parsed(body).code, parsed(body).status) == ("malformed_json", 400)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 900, 2000, 200_000])
def test_deep_nesting_is_refused(opening: str, depth: int) -> None:
    closing = "".join({"[": "]", "{": "}"}[c] for c in reversed(opening) if c in "[{")
    nested = opening * depth + "1" + closing * depth
    for escape in ("", "\\u0041"):
        body = f'{{"x{escape}": {nested}}}'.encode()[:MAX_BODY_BYTES]
        outcome = parsed(body)
        assert (outcome.code, outcome.status) == ("malformed_json", 400)


def test_nesting_within_bounds_is_left_to_the_contract() -> None:
    assert parsed(b'{"a": [[{"b": [1]}]], "c": 1}') == {"a": [[{"b": [1]}]], "c": 1}


def test_long_texts_are_refused_by_their_field() -> None:
    assert parsed(b'{"a": "%s"}' % (b"x" * MAX_TEXT))["a"] == "x" * MAX_TEXT
    outcome = parsed(b'{"b": 1, "a": "%s"}' % (b"x" * (MAX_TEXT + 1)))

    assert (outcome.code, outcome.status, outcome.field) == ("out_of_range", 422, "a")
    assert f"at most {MAX_TEXT} characters" in str(outcome)
