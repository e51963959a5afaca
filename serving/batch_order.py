"""Rows of one batch as if they had been sent one by one: repeated ids, and who waits for whom."""

from collections.abc import Sequence

from features.online.events import Event
from features.online.past import EntityLayout
from features.online.state import Applied


def with_repeats(events: Sequence[Event], known: Sequence[Applied | None]) -> list[Applied | None]:
    """Return what is known of each event once the ones before it in the batch are known, too.

    Args:
        events: In the batch's order.
        known: What the state knew of each before.
    """
    first: dict[str, Event] = {}
    found: list[Applied | None] = []
    for event, what in zip(events, known, strict=True):
        earlier = first.setdefault(event.id, event)
        if what is None and earlier is not event:
            found.append(Applied.DUPLICATE if earlier == event else Applied.CONFLICT)
        else:
            found.append(what)
    return found


def waves(events: Sequence[Event], layouts: Sequence[EntityLayout]) -> list[list[int]]:
    """Return positions in groups, each to be decided after the groups before it.

    Rows of one group have neither an entity nor an id in common, so that none has to wait for
    another's decision.
    """
    found: list[list[int]] = []
    last: dict[str, int] = {}
    for at, event in enumerate(events):
        keys = [layout.key_of(event) for layout in layouts]
        named = [key for key in (*keys, f"id {event.id}") if key is not None]
        wave = max((last[key] + 1 for key in named if key in last), default=0)
        last.update(dict.fromkeys(named, wave))
        if wave == len(found):
            found.append([])
        found[wave].append(at)
    return found
