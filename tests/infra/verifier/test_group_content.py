"""A group's bytes read with nothing but the standard library, as msgspec wrote them."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from infra.verifier.canonical import packed_array
from infra.verifier.group_content import Place, Unpackable, places_of

HEAD = ["shop", "1", "1", "f" * 64, ["A", "B"], ["C"], ["D"], None]
ID = "019f1d2e-0000-7000-8000-000000000001"


def record(sequence: int, **changes: Any) -> list[Any]:
    """A stored record's fields, in their order."""
    fields = {
        "head_at": 0, "sequence": sequence, "decision_id": ID, "received_at": 1 << 50,
        "key_id": None, "transaction_id": "t" * 40,
        "values": [datetime(2026, 1, 1, tzinfo=UTC), -1.5, "x", None, True, -7, -40_000, 70_000],
        "pseudonyms": [b"p" * 16, None], "numeric": b"\x00" * 300, "categorical": b"",
        "logits": [0.25, -0.25], "stages": {"model": 200, "features": 70_000},
        "is_degraded": False, "counts": True, "subject": b"s" * 16, "sealed": b"z" * 70_000,
        "key": b"k" * 16, "content": b"c" * 16, "answer": b"{}",
    }  # fmt: skip
    return list((fields | changes).values())


@pytest.mark.parametrize("n_records", [1, 15, 16, 70_000 // 1_000])
def test_every_decision_of_a_group_is_found(n_records: int) -> None:
    records = [record(first) for first in range(1, n_records + 1)]

    found = places_of(msgspec.msgpack.encode([[HEAD], records]))

    assert found == [
        Place(first, ID, b"s" * 16, b"k" * 16, b"c" * 16) for first in range(1, n_records + 1)
    ]


def test_a_record_without_key_and_subject_has_none() -> None:
    sequences = [1, 200, 40_000, 3_000_000_000, 1 << 40]
    records = [record(sequence, subject=None, key=None) for sequence in sequences]

    found = places_of(msgspec.msgpack.encode([[HEAD], records]))

    assert [each.sequence for each in found] == sequences
    assert {(each.subject, each.key) for each in found} == {(None, None)}


@pytest.mark.parametrize("content", [
    b"", b"\x91\xc0", b"\xc0", msgspec.msgpack.encode([[], [[1, 2]]]),
    msgspec.msgpack.encode([[HEAD], [record(1)]])[:-1],
    msgspec.msgpack.encode([[HEAD], [record(1)]]) + b"\x00",
    msgspec.msgpack.encode([[HEAD], [record(1, decision_id=1.5)]]),
    b"\x92\xc1\xc0",
])  # fmt: skip
def test_what_is_no_group_is_refused(content: bytes) -> None:
    with pytest.raises(Unpackable):
        places_of(content)


@pytest.mark.parametrize("value", [0, 127, 128, 255, 256, 65_535, 65_536, 1 << 40, "", "é" * 20,
                                   "x" * 31, "x" * 32, "x" * 300])  # fmt: skip
def test_what_a_digest_is_over_is_packed_as_msgspec_packs_it(value: int | str) -> None:
    assert packed_array((value, 1, "a")) == msgspec.msgpack.encode((value, 1, "a"))
