"""Members: how the Redis state packs an event, and how it reads many of them back at once.

Each entity is a sorted set. A member is one event: whole numbers of 8 bytes, the first of which
is its moment and the last of which tells it from others alike. Its score is its second, so that
any moment is exact in Redis' floating-point scores and members of one second are in order.
"""

import struct
import sys
from array import array
from collections.abc import Sequence

from features.online.events import MICROSECONDS_PER_SECOND, Event
from features.online.past import MISSING, EntityLayout, EntityPast, stored_amount, value_code

WORD_BYTES = 8
DIGEST_BYTES = 16

_WORD = struct.Struct(">q")
_IS_LITTLE_ENDIAN = sys.byteorder == "little"
_EVENT, _PENDING = b"E", b"P"


class MemberLayout:
    """The packing of one entity's events.

    Words: moment; amount, where a feature reads amounts; a code for each value column that a
    feature reads; the label report, where a feature reads labels; the start of the digest.

    Args:
        layout: What is stored of the entity's events.
    """

    def __init__(self, layout: EntityLayout) -> None:
        self.layout = layout
        self._n_words = 2 + layout.amounts + len(layout.values) + layout.labels
        self._packer = struct.Struct(f">{self._n_words - 1}q")

    def pack(self, event: Event, digest: bytes) -> bytes:
        """Return an event as a member, without a label report."""
        words = [event.event_time]
        if self.layout.amounts:
            words.append(stored_amount(event.amount_minor))
        words += [value_code(event.values[position]) for position in self.layout.values]
        if self.layout.labels:
            words.append(MISSING)
        return self._packer.pack(*words) + digest[:WORD_BYTES]

    def past(self, members: Sequence[bytes]) -> EntityPast:
        """Return members, in the order of their set, as columns."""
        words = array("q")
        words.frombytes(b"".join(members))
        if _IS_LITTLE_ENDIAN:
            words.byteswap()
        n, at = self._n_words, 1 + self.layout.amounts
        return EntityPast(
            words[::n],
            words[1::n] if self.layout.amounts else (),
            tuple([words[at + k :: n] for k in range(len(self.layout.values))]),
            words[n - 2 :: n] if self.layout.labels else (),
        )


def score_of(moment: int) -> int:
    """Return the second of a moment: exact as a score, and ascending with it."""
    return moment // MICROSECONDS_PER_SECOND


def word(number: int) -> bytes:
    """Return a number as members and records hold it."""
    return _WORD.pack(number)


def event_record(event: Event, digest: bytes, places: Sequence[bytes]) -> bytes:
    """Return what is remembered under an event's id.

    Args:
        event: The event.
        digest: Its content.
        places: Keys of the entities whose features look at its label.
    """
    named = b"".join([struct.pack(">I", len(place)) + place for place in places])
    return _EVENT + digest + word(MISSING) + word(event.event_time) + named


def digest_in(record: bytes | None) -> bytes | None:
    """Return the digest in the start of a record; None where no event of that id is known."""
    if record is None or not record.startswith(_EVENT):
        return None
    return record[1 : 1 + DIGEST_BYTES]
