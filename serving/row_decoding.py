"""Rows of requests typed by the contract in one pass: the quick reader.

A type made of the contract's fields lets the decoder check and convert most values itself. The
quick reader accepts nothing that :class:`serving.requests.RowReader` refuses, and gives the same
values; where it is not sure it says nothing, and the careful reader finds the words.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict, cast

import msgspec
import numpy as np

from features.contract import Contract
from serving.refusals import RequestRefused
from serving.request_fields import LARGEST_FLOAT32, RequestField, reader_of
from serving.request_json import MAX_TEXT, Body

# Not the bound itself: a huge integer is rounded to it before it is compared.
_Number = Annotated[float, msgspec.Meta(gt=-LARGEST_FLOAT32, lt=LARGEST_FLOAT32)] | None
_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Scalar = bool | int | float | _Text | None

_NOT_SURE = (msgspec.MsgspecError, RequestRefused, ValueError, RecursionError)
_COLON = ord(":")


class RowDecoder:
    """Types the rows that are as the contract wants them.

    Args:
        fields: Of a request, in the contract's order.
        contract: Whose fields they are.
    """

    def __init__(self, fields: Sequence[RequestField], contract: Contract) -> None:
        # Made at run time from names that need not be identifiers.
        members = {field.name: _member(field) for field in fields}
        self._type: Any = cast("Any", TypedDict)("Row", members)
        self._decode = msgspec.json.Decoder(self._type).decode
        self._names = members.keys()
        self._optional = tuple(field.name for field in fields if not field.required)
        own = [field for field in fields if _type(field) is _Scalar]
        self._readers = tuple((field.name, reader_of(field, contract)) for field in own)
        self._texts = tuple(field.name for field in fields if _type(field) is not _Number)
        self._refuses_unknown = contract.policy.unknown_fields == "refuse"
        self._may_be_sent = frozenset((*self._names, *contract.columns.groups))

    def decoded(self, body: Body) -> dict[str, Any] | None:
        """Return the row of a JSON text; None where the careful reader must look."""
        try:
            row: dict[str, Any] = self._decode(body)
            return self._finished(row) if self._is_each_once(bytes(body), row) else None
        except _NOT_SURE:
            return None

    def decoded_all(self, bodies: Sequence[Body]) -> list[dict[str, Any] | None]:
        """Return the same as :meth:`decoded` for each text."""
        rows: list[dict[str, Any] | None] = []
        for body in bodies:
            try:
                rows.append(self._decode(body))
            except _NOT_SURE:
                rows.append(None)
        if not self._are_each_once(bodies, rows):
            return [self.decoded(body) for body in bodies]
        for at, row in enumerate(rows):
            if row is not None:
                try:
                    self._finished(row)
                except _NOT_SURE:
                    rows[at] = None
        return rows

    def converted(self, sent: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a decoded row, typed; None where the careful reader must look."""
        try:
            row: dict[str, Any] = msgspec.convert(sent, self._type)
            if len(row) != len(sent) and self._refuses_unknown and sent.keys() - self._may_be_sent:
                return None
            return self._finished(row)
        except _NOT_SURE:
            return None

    def _finished(self, row: dict[str, Any]) -> dict[str, Any]:
        """Put in what is missing, and read what the decoder's types do not say."""
        if len(row) != len(self._names):
            for name in self._optional:
                row.setdefault(name, None)
        for name, read in self._readers:
            row[name] = read(row[name])
        return row

    def _is_each_once(self, text: bytes, row: dict[str, Any]) -> bool:
        """Return whether a text names the row's fields once each, and nothing else.

        Each member of an object has its colon. So as many colons as fields leave none for a field
        named twice, for an unknown one, or for an object within.
        """
        n_colons = text.count(b":")
        return n_colons == len(row) or (
            b"\\" not in text and n_colons == len(row) + self._colons_within([row])
        )

    def _are_each_once(self, bodies: Sequence[Body], rows: Sequence[dict[str, Any] | None]) -> bool:
        """Return what :meth:`_is_each_once` says of all rows that were decoded."""
        pairs = [(body, row) for body, row in zip(bodies, rows, strict=True) if row is not None]
        text = b"".join([body for body, _ in pairs])
        known = [row for _, row in pairs]
        n_colons = int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == _COLON))
        n_fields = sum(map(len, known))
        return n_colons == n_fields or (
            b"\\" not in text and n_colons == n_fields + self._colons_within(known)
        )

    def _colons_within(self, rows: Sequence[dict[str, Any]]) -> int:
        """Return how many colons stand within values; an escaped one would not show in the text."""
        return sum(
            value.count(":")
            for name in self._texts
            for row in rows
            if type(value := row.get(name)) is str
        )


def _member(field: RequestField) -> Any:
    kind = _type(field)
    return kind if field.required else NotRequired[kind]


def _type(field: RequestField) -> Any:
    """Return what the decoder checks; of a scalar the field's own reader checks the rest."""
    if field.role == "number" and field.kind != "boolean":
        return _Number
    if field.role == "category" and field.kind not in ("integer", "number", "boolean"):
        return _Text | None
    return _Scalar
