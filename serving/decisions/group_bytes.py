"""The bytes of a group: what its decisions have in common once, then each of them.

MessagePack, as the two lists ``[heads, records]``. A record is the array of the fields of
:class:`StoredRecord` but for its head. One of many is found without reading the others.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from infra.verifier.group_content import Place
from serving.decisions.record import RecordHead, StoredRecord


class _Indexed(msgspec.Struct, array_like=True, gc=False):
    """The fields of a stored record that it is found by; the others are stepped over."""

    head_at: msgspec.Raw
    sequence: int
    decision_id: str
    received_at: msgspec.Raw
    key_id: msgspec.Raw
    transaction_id: msgspec.Raw
    values: msgspec.Raw
    pseudonyms: msgspec.Raw
    numeric: msgspec.Raw
    categorical: msgspec.Raw
    logits: msgspec.Raw
    stages: msgspec.Raw
    is_degraded: msgspec.Raw
    counts: msgspec.Raw
    subject: bytes | None
    sealed: msgspec.Raw
    key: bytes | None
    content: bytes


Body = tuple[Any, ...]
"""What is stored of a decision, in the order of the fields of :class:`StoredRecord`."""

encode = msgspec.msgpack.Encoder().encode

_decode_group = msgspec.msgpack.Decoder(tuple[list[RecordHead], list[StoredRecord]]).decode
_decode_indexed = msgspec.msgpack.Decoder(tuple[msgspec.Raw, list[_Indexed]]).decode
_decode_places = msgspec.msgpack.Decoder(tuple[list[RecordHead], list[msgspec.Raw]]).decode
_decode_one = msgspec.msgpack.Decoder(StoredRecord).decode


def packed_head(head: RecordHead) -> msgspec.Raw:
    """Return a head as it goes into every group."""
    return msgspec.Raw(encode(head))


def pack(heads: Sequence[msgspec.Raw], bodies: Sequence[Body]) -> bytes:
    """Return the bytes that are stored of a group.

    Args:
        heads: Packed.
        bodies: In their order; each begins with the place of its head.
    """
    return encode((heads, bodies))


def unpack(content: bytes) -> list[StoredRecord]:
    """Return a group's records from its bytes."""
    heads, records = _decode_group(content)
    for record in records:
        _complete(record, heads)
    return records


def unpack_some(content: bytes, places: Iterable[int]) -> list[StoredRecord]:
    """Return those records of a group that lie at some places, from 0."""
    heads, packed = _decode_places(content)
    records = [_decode_one(packed[place]) for place in places]
    for record in records:
        _complete(record, heads)
    return records


def places_of(content: bytes) -> list[Place]:
    """Return what a group's index tables repeat of it, as ``infra.verifier`` reads it.

    Raises:
        ValueError: If the bytes are no group's.
    """
    try:
        _, records = _decode_indexed(content)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    return records  # type: ignore[return-value]


def _complete(record: StoredRecord, heads: Sequence[RecordHead]) -> None:
    msgspec.structs.force_setattr(record, "head", heads[record.head_at])
