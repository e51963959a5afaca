"""The quick reader of rows agrees with the careful one, on sound rows and on any others."""

import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.contract import parse_contract
from serving.refusals import RequestRefused
from serving.request_json import MAX_TEXT, parse_row
from serving.requests import RowReader
from serving.row_decoding import RowDecoder
from serving.scorer import Scorer

LARGEST = (2**24 - 1) * 2**104
"""The largest number of 32 bits, a whole one."""

numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, LARGEST, LARGEST + 1, float(LARGEST), -LARGEST - 1, 10**400])
)
texts = st.text(max_size=4) | st.sampled_from([":", '"', "\\", "2026-03-01T03:00:00Z", "DE", "é"])
scalars = st.none() | st.booleans() | numbers | texts
anything = scalars | st.lists(scalars, max_size=2) | st.dictionaries(texts, scalars, max_size=2)
sound = {
    "ORDER_ID": st.integers(0, 99) | st.text("0123456789:", max_size=3),
    "PLACED_AT": st.sampled_from(["2026-03-01T03:00:00Z", "2026-03-01T03:00:00.5+02:00"]),
    "CUSTOMER": st.integers(1, 5) | st.text("ab", max_size=2),
    "AMOUNT": st.none() | numbers,
    "AGE_DAYS": st.none() | numbers,
    "COUNTRY": st.none() | texts,
}
optional = {"DISTANCE": st.none() | numbers, "DEVICE": st.none() | st.integers(-1, 4)}
sound_rows = st.fixed_dictionaries(sound, optional=optional).map(lambda row: list(row.items()))
names = st.sampled_from([*sound, *optional, "GENDER", "X", "A:B"])
spoilt_rows = st.builds(lambda row, more: row + more, sound_rows, st.lists(
    st.tuples(names, anything), max_size=3))  # fmt: skip
strange_rows = st.lists(st.tuples(names, anything), max_size=10)


@pytest.fixture(scope="module", params=["refuse", "ignore", "by number"])
def reader(request: pytest.FixtureRequest, scorer: Scorer, shop_contract) -> RowReader:
    contract, types = dict(shop_contract), dict(scorer.bundle.feature_set.input_types)
    columns = contract["columns"] | {"groups": ["GENDER"]}
    if request.param == "by number":
        time = {"column": "PLACED_AT", "unit": "s", "origin": "2026-01-01T00:00:00Z"}
        columns |= {"event_time": time}
        types |= {"AGE_DAYS": "boolean", "COUNTRY": "number", "DEVICE": "text"}
    elif request.param == "ignore":
        contract["policy"] = {"unknown_fields": "ignore"}
    return RowReader(parse_contract(contract | {"columns": columns}, source="tests"), types)


def said(read: Any, body: bytes) -> Any:
    """What a reader makes of a body, to the bit: its row, or what the client reads."""
    try:
        row = read(body)
    except RequestRefused as refusal:
        return refusal.status, refusal.to_json()
    return sorted((name, _exact(value)) for name, value in row.items())


def _exact(value: Any) -> Any:
    return struct.pack("d", value) if isinstance(value, float) else (type(value).__name__, value)


def _body(members: list[tuple[str, Any]]) -> bytes:
    texts = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in members)
    return f"{{{', '.join(texts)}}}".encode()


@given(sound_rows | spoilt_rows | strange_rows)
@settings(max_examples=300)
@example([("AMOUNT", 1), ("AMOUNT", 2)])
def test_the_quick_reader_says_what_the_careful_one_says(
    reader: RowReader, members: list[tuple[str, Any]]
) -> None:
    body = _body(members)

    careful = said(lambda text: reader.read_carefully(parse_row(text)), body)

    assert said(reader.read_body, body) == careful
    assert said(lambda text: reader.read(parse_row(text)), body) == careful
    (outcome,) = reader.read_bodies([body])
    assert said(lambda _: _raised(outcome), body) == careful


@given(st.lists(sound_rows | spoilt_rows, max_size=5))
@settings(max_examples=100)
def test_rows_read_together_are_as_read_alone(
    reader: RowReader, rows: list[list[tuple[str, Any]]]
) -> None:
    bodies = [msgspec.Raw(_body(members)) for members in rows]

    together = [said(lambda _, row=row: _raised(row), b"") for row in reader.read_bodies(bodies)]

    assert together == [said(reader.read_body, bytes(body)) for body in bodies]


def _raised(outcome: Any) -> Any:
    if isinstance(outcome, RequestRefused):
        raise outcome
    return outcome


@pytest.mark.parametrize(
    "change",
    [
        (b'"AMOUNT":100.0', b'"AMOUNT":100.0,"AMOUNT":100.0'),
        (b'"AMOUNT":100.0', b'"AMOUNT":100.0,"\\u0041MOUNT":100.0'),
        (b'"COUNTRY":"DE"', b'"COUNTRY":"\\u003a","COUNTRY":"DE"'),
        (b'"COUNTRY":"DE"', b'"COUNTRY":"\\u003a","AMOUNT":1'),
        (b'"AMOUNT":100.0', b'"AMOUNT":100.0,"X":1'),
        (b'"AMOUNT":100.0', b'"AMOUNT":{"AMOUNT":1}'),
        (b'"AMOUNT":100.0', b'"AMOUNT":NaN'),
        (b'"AMOUNT":100.0', b'"AMOUNT":"100"'),
        (b'"AMOUNT":100.0', b'"AMOUNT":true'),
        (b'"AMOUNT":100.0', b'"AMOUNT":' + b"9" * 5000),
        (b'"AMOUNT":100.0', b'"AMOUNT":%d' % (LARGEST + 1)),
        (b'"COUNTRY":"DE"', b'"COUNTRY":"%s"' % (b"x" * (MAX_TEXT + 1))),
        (b'"CUSTOMER":5', b'"CUSTOMER":null'),
        (b'"DEVICE":1', b'"DEVICE":1.0'),
    ],
)
def test_what_the_careful_reader_refuses_the_quick_one_leaves_to_it(
    scorer: Scorer, shop_row, change: tuple[bytes, bytes]
) -> None:
    decoder = RowDecoder(scorer.fields, scorer.bundle.contract)
    usual = msgspec.json.encode(shop_row())
    body = usual.replace(*change)

    assert decoder.decoded(usual) is not None
    assert body != usual
    assert decoder.decoded(body) is None
    assert [row is None for row in decoder.decoded_all([usual, body, usual])] == [
        False, True, False,
    ]  # fmt: skip


def test_times_and_texts_with_colons_are_no_matter_for_the_careful_reader(
    scorer: Scorer, shop_row
) -> None:
    decoder = RowDecoder(scorer.fields, scorer.bundle.contract)
    body = msgspec.json.encode(shop_row(COUNTRY="a:b", PLACED_AT="2026-03-01T12:00:00+01:00"))

    assert decoder.decoded(body) is not None
    assert decoder.decoded_all([body] * 2) == [decoder.decoded(body)] * 2


def test_a_column_may_have_any_name(scorer: Scorer, shop_contract, shop_row) -> None:
    renamed = {"DISTANCE": "from where: to", "AGE_DAYS": "class"}
    text = json.dumps(shop_contract)
    for old, new in renamed.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    contract = parse_contract(json.loads(text), source="tests")
    reader = RowReader(contract, scorer.bundle.feature_set.input_types)
    row = {renamed.get(name, name): value for name, value in shop_row().items()}

    assert reader.read_body(msgspec.json.encode(row)) == reader.read_carefully(row)
