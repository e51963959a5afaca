"""Bytes become objects strictly, and every refusal has a code."""

import json
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.refusals import RequestRefused
from serving.request_json import parse_batch, parse_row


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b'{"A": 1}x', 400, "malformed_json"),
        (b"{'A': 1}", 400, "malformed_json"),
        (b'{"A": NaN}', 400, "malformed_json"),
        (b'{"A": Infinity}', 400, "malformed_json"),
        (b'{"A": -Infinity}', 400, "malformed_json"),
        (b'{"A": 01}', 400, "malformed_json"),
        (b'{"A": 1e999}', 400, "malformed_json"),
        (b'{"A": "\\ud800"}', 400, "malformed_json"),
        (b'{"A": "\\udc00"}', 400, "malformed_json"),
        (b'{"A": "\\ud800x"}', 400, "malformed_json"),
        (b'{"\\udfff": 1}', 400, "malformed_json"),
        (b'{"A": "\xff"}', 400, "malformed_json"),
        (b'{"A": "\xed\xa0\x80"}', 400, "malformed_json"),
        ('{"A": 1}'.encode("utf-16"), 400, "malformed_json"),
        (b'\xef\xbb\xbf{"A": 1}', 400, "malformed_json"),
        (b"[" * 100_000, 400, "malformed_json"),
        (b'{"A":' * 100_000, 400, "malformed_json"),
        (b'{"A": 1, "A": 2}', 400, "duplicate_field"),
        (b'{"A": "x:y", "A": "x:y"}', 400, "duplicate_field"),
        (b'{"A": 1, "\\u0041": 2}', 400, "duplicate_field"),
        (b'{"A": "\\u003a", "A": 2}', 400, "duplicate_field"),
        (b'{"A": 1, "B": {"C": 1, "C": 2}}', 400, "duplicate_field"),
        (b"[]", 422, "wrong_type"),
        (b"null", 422, "wrong_type"),
        (b'"text"', 422, "wrong_type"),
        (b"17", 422, "wrong_type"),
    ],
)
def test_a_body_that_is_no_row_is_refused(body: bytes, status: int, code: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        parse_row(body)

    assert (refusal.value.status, refusal.value.code) == (status, code)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"A": "10:30:00", "B:C": 1, "D": ":::"}',
        b'{"A": "\\u003a\\"", "B": {"C": [1, {"D": 2}]}}',
        b'{"A": 1' + b"0" * 3000 + b"}",
        '{"Ä": "é:😀", "B": "\\ud83d\\ude00"}'.encode(),
        b' {\n"A" : 1 ,\t"B":2}\r\n',
        b"{}",
    ],
)
def test_unusual_json_is_read_as_python_reads_it(body: bytes) -> None:
    assert parse_row(body) == json.loads(body)


_names = st.text(st.characters(codec="utf-8"), max_size=4)
_values = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _names | st.just(":")


@given(st.lists(st.tuples(_names, _values), max_size=5))
def test_a_field_named_twice_is_found_whatever_the_others_hold(
    pairs: list[tuple[str, object]],
) -> None:
    members = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs]
    body = ("{" + ",".join(members) + "}").encode()

    if len({name for name, _ in pairs}) == len(pairs):
        assert parse_row(body) == dict(pairs)
    else:
        with pytest.raises(RequestRefused, match="named twice"):
            parse_row(body)


@given(st.binary(max_size=60))
def test_random_bytes_are_an_object_or_refused(body: bytes) -> None:
    assert _status(parse_row, body) in (200, 400, 422)
    assert _status(parse_batch, body) in (200, 400, 422)


def test_a_batch_keeps_its_rows_in_order() -> None:
    rows = parse_batch(b' { "rows" : [ {"A": 1}, 2, null ] } ')

    assert [bytes(row) for row in rows] == [b'{"A": 1}', b"2", b"null"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 422, "missing_field"),
        (b"[]", 422, "wrong_type"),
        (b'{"rows": {}}', 422, "wrong_type"),
        (b'{"rows": null}', 422, "wrong_type"),
        (b'{"rows": [], "model": 1}', 422, "unknown_field"),
        (b'{"rows": [], "rows": [1]}', 400, "duplicate_field"),
        (b'{"rows": [1], "rows": [1]}', 400, "duplicate_field"),
        (b'{"rows": [1, ]}', 400, "malformed_json"),
        (b'{"rows": ' + b"[" * 100_000, 400, "malformed_json"),
        (b'{"rows": [' + b"1," * 1000 + b"1]}", 413, "too_many_rows"),
    ],
)
def test_a_body_that_is_no_batch_is_refused(body: bytes, status: int, code: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        parse_batch(body)

    assert (refusal.value.status, refusal.value.code) == (status, code)


def test_a_batch_of_a_thousand_rows_is_accepted() -> None:
    assert len(parse_batch(b'{"rows": [' + b"1," * 999 + b"1]}")) == 1000


def _status(parse: Callable[[bytes], object], body: bytes) -> int:
    try:
        parse(body)
    except RequestRefused as refusal:
        return refusal.status
    return 200


_keys = st.sampled_from(['"rows"', '"labels"', '"x"', '"\\u0072ows"', '"\\"rows\\""'])
_lists = st.sampled_from(
    ["[]", "[1, {}]", '["rows"]', '[{"rows": [2]}]', '["\\\\"]', '{"a": 1}', "1", "null", "[1,"]
)


@given(st.lists(st.tuples(_keys, _lists), max_size=3), st.sampled_from(["rows", "labels"]))
def test_a_batch_is_its_only_member_or_refused(
    members: list[tuple[str, str]], what: Literal["rows", "labels"]
) -> None:
    body = ("{" + ",".join(f"{key} :{value}" for key, value in members) + "}").encode()
    wanted = members[0][1] if [key for key, _ in members] == [f'"{what}"'] else "null"
    is_batch = wanted.startswith("[") and wanted != "[1,"

    try:
        items = [json.loads(bytes(item)) for item in parse_batch(body, what)]
    except RequestRefused:
        items = None

    assert items == (json.loads(wanted) if is_batch else None)
