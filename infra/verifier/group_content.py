"""What of a group's bytes its index tables repeat: ids, keys and contents of its decisions.

The bytes are MessagePack, ``[heads, records]``; of a record this reads five of its fields and
steps over the others.
"""

from typing import Any, NamedTuple


class Place(NamedTuple):
    """A decision as the log's index tables know it.

    Attributes:
        decision_id: 36 characters.
        key: 16 bytes that a repetition is known by; None where there are none.
        subject: Whose key seals what is personal; None where nothing is sealed.
    """

    sequence: int
    decision_id: str
    subject: bytes | None
    key: bytes | None
    content: bytes


class Unpackable(ValueError):
    """Raised for bytes that are no group's."""


# Of a record's fields, by their place: sequence, decision_id, subject, key, content.
_WANTED = (1, 2, 14, 16, 17)
# Bytes of the length that follows a mark; those of extensions have a type besides.
_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
_EXTENSIONS = (0xC7, 0xC8, 0xC9)
_FIXED = {0xCA: 4, 0xCB: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
          0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17, 0xC0: 0, 0xC2: 0, 0xC3: 0}  # fmt: skip


def places_of(content: bytes) -> list[Place]:
    """Return the decisions of a group, in their order.

    Raises:
        Unpackable: If the bytes are no group's.
    """
    try:
        n_parts, at = _array(content, 0)
        if n_parts != 2:
            raise Unpackable("A group has two parts.")
        at = _after(content, at)
        n_records, at = _array(content, at)
        found = []
        for _ in range(n_records):
            n_fields, at = _array(content, at)
            fields = []
            for field in range(n_fields):
                end = _after(content, at)
                if field in _WANTED:
                    fields.append(_value(content, at, end))
                at = end
            found.append(Place(*fields))
    except (IndexError, TypeError, UnicodeDecodeError) as error:
        raise Unpackable(str(error)) from None
    if at != len(content):
        raise Unpackable("Something follows the last record.")
    return found


def _array(content: bytes, at: int) -> tuple[int, int]:
    mark = content[at]
    if mark & 0xF0 == 0x90:
        return mark & 0x0F, at + 1
    size = {0xDC: 2, 0xDD: 4}.get(mark)
    if size is None:
        raise Unpackable(f"An array is expected at byte {at}.")
    return int.from_bytes(content[at + 1 : at + 1 + size], "big"), at + 1 + size


def _after(content: bytes, at: int) -> int:
    """Return where the value ends that begins at a byte."""
    waiting = 1
    while waiting:
        mark = content[at]
        at += 1
        waiting -= 1
        if mark < 0x80 or mark >= 0xE0:
            continue
        if mark < 0x90:
            waiting += 2 * (mark & 0x0F)
        elif mark < 0xA0:
            waiting += mark & 0x0F
        elif mark < 0xC0:
            at += mark & 0x1F
        elif mark in _FIXED:
            at += _FIXED[mark]
        elif mark in _SIZES:
            size = _SIZES[mark]
            at += size + int.from_bytes(content[at : at + size], "big") + (mark in _EXTENSIONS)
        elif mark in (0xDC, 0xDD, 0xDE, 0xDF):
            size = 4 if mark & 1 else 2
            n = int.from_bytes(content[at : at + size], "big")
            at += size
            waiting += n if mark < 0xDE else 2 * n
        else:
            raise Unpackable(f"No value begins with {mark:#x}.")
    if at > len(content):
        raise Unpackable("The bytes end within a value.")
    return at


def _value(content: bytes, at: int, end: int) -> Any:
    """Return a whole number, a text, bytes, or None."""
    mark = content[at]
    if mark < 0x80:
        return mark
    if mark == 0xC0:
        return None
    if 0xCC <= mark <= 0xCF:
        return int.from_bytes(content[at + 1 : end], "big")
    if mark in (0xC4, 0xC5, 0xC6):
        return content[at + 1 + _SIZES[mark] : end]
    if 0xA0 <= mark < 0xC0:
        return content[at + 1 : end].decode()
    if mark in _SIZES:
        return content[at + 1 + _SIZES[mark] : end].decode()
    raise Unpackable(f"No number, text or bytes at byte {at}.")
