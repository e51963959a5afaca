"""From the bytes of a request to JSON objects, strictly: no NaN, no field named twice."""

import json
import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from serving.refusals import RequestRefused, shown
from serving.request_fields import kind_of

Body = bytes | msgspec.Raw

MAX_BATCH_ROWS = 1_000
MAX_BODY_BYTES = 1 << 20
MAX_TEXT = 1_024
"""Characters of one text; ids and categories are far shorter."""
MAX_DEPTH = 16
"""Objects and arrays within each other; the fields of a contract need one."""

_decode = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_lists = msgspec.json.Decoder(dict[str, list[msgspec.Raw]]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_TOO_DEEP = "it is nested too deeply"
_LIST_HEAD = {
    name: re.compile(rb'\s*\{\s*"%s"\s*:\s*' % name.encode()) for name in ("rows", "labels")
}


def parse_row(body: Body) -> dict[str, Any]:
    """Return the JSON object in ``body``.

    Raises:
        RequestRefused: If it is not JSON, no object, or names a field twice.
    """
    row = _parsed(_decode, body)
    if not isinstance(row, dict):
        raise RequestRefused("wrong_type", f"A row is a JSON object, not {kind_of(row)}.")
    text = bytes(body)
    # A short text of as many colons as fields holds no long text, no object within, and no field
    # twice: each member of an object has its colon. Only arrays are left to look for.
    n_colons = text.count(b":")
    if n_colons == len(row) and len(text) <= MAX_TEXT and b"[" not in text:
        return row
    _check_values(row)
    repeated = _repeated_key(text, row, n_colons)
    if repeated is not None:
        raise RequestRefused(
            "duplicate_field", "A field is named twice in one row.", status=400, field=repeated
        )
    return row


def _check_values(row: dict[str, Any]) -> None:
    for name, value in row.items():
        kind = type(value)
        if kind is str and len(value) > MAX_TEXT:
            raise RequestRefused(
                "out_of_range", f"A text has at most {MAX_TEXT} characters.", field=shown(name)
            )
        if (kind is dict or kind is list) and _is_deeper(value, MAX_DEPTH - 1):
            raise _malformed(_TOO_DEEP)


def parse_batch(body: bytes, what: Literal["rows", "labels"] = "rows") -> list[msgspec.Raw]:
    """Return the undecoded items of ``{"rows": [...]}`` or ``{"labels": [...]}``, in order.

    Raises:
        RequestRefused: If the body is not that object, or has more than ``MAX_BATCH_ROWS`` items.
    """
    items = _plain_items(body, what)
    if items is None:
        items = _items(body, what)
    if len(items) > MAX_BATCH_ROWS:
        raise RequestRefused(
            "too_many_rows",
            f"A batch has at most {MAX_BATCH_ROWS} {what}, this one has {len(items)}. Split it.",
            status=413,
        )
    return items


def _plain_items(body: bytes, what: str) -> list[msgspec.Raw] | None:
    """Return the items of a batch that says what they are once, without escapes; else None.

    They are looked through once, where :func:`_items` has to do so twice.
    """
    if body.count(b'"%s"' % what.encode()) != 1 or b"\\" in body:
        return None
    try:
        (items,) = _decode_lists(body).values()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None  # not one list alone
    return items if _LIST_HEAD[what].match(body) else None


def _items(body: bytes, what: str) -> list[msgspec.Raw]:
    members = _parsed(_decode_members, body)
    if what not in members:
        raise RequestRefused("missing_field", f'A batch is {{"{what}": [...]}}.', field=what)
    for name in members:
        if name != what:
            raise RequestRefused("unknown_field", f"A batch has {what} only.", field=shown(name))
    head = body[: body.rfind(bytes(members[what]))]
    if not _LIST_HEAD[what].fullmatch(head):
        raise RequestRefused("duplicate_field", f"Give {what} once.", status=400, field=what)
    items: list[msgspec.Raw] = _parsed(_decode_array, members[what])
    return items


def _parsed(decode: Callable[[Any], Any], body: Body) -> Any:
    try:
        return decode(body)
    except RecursionError:
        problem = _TOO_DEEP
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except msgspec.ValidationError as error:
        if "range" not in str(error):
            raise RequestRefused("wrong_type", f"{error}.") from None
        problem = "a number is beyond what a 64-bit float holds"
    except msgspec.DecodeError as error:
        problem = str(error).removeprefix("JSON is malformed: ")
    raise _malformed(problem)


def _malformed(problem: str) -> RequestRefused:
    return RequestRefused(
        "malformed_json",
        f"The body is not JSON (no NaN, Infinity or lone surrogates there): {problem}.",
        status=400,
    )


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether an object or array holds more than ``depth`` of them within each other."""
    level = [value]
    for _ in range(depth):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for part in inner for each in part if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def _repeated_key(body: bytes, row: dict[str, Any], n_colons: int) -> str | None:
    """Return a field that a flat object names twice.

    Each colon of the text either separates a field or stands inside a string, so counting them
    settles the usual case at a fraction of the cost of a second parse. An escaped colon does not
    show in the text; then only as many colons as fields leave no doubt.
    """
    if n_colons == len(row):
        return None
    if b"\\" not in body:
        in_strings = sum(value.count(":") for value in row.values() if type(value) is str)
        in_names = sum(name.count(":") for name in row)
        if n_colons - in_strings - in_names == len(row):
            return None
    pairs: list[list[str]] = []
    json.loads(
        body,
        object_pairs_hook=lambda items: pairs.append([key for key, _ in items]),
        parse_int=str,  # the digits of a huge integer are not worth converting
    )
    return next((shown(key) for keys in pairs for key in keys if keys.count(key) > 1), None)
