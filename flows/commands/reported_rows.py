"""What commands say of the rows of a file that reports labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.commands.console import console

if TYPE_CHECKING:
    from flows.labels import LeftOut

_NAMED = 10


def first_of(names: Sequence[str]) -> str:
    """Return names in one line, those after the tenth as a count."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def print_left_out(rows: "Sequence[LeftOut]") -> None:
    """Say which rows of a file were left out, and why; nothing where none was."""
    if rows:
        named = first_of([f"row {each.row:,} ({each.why})" for each in rows])
        console.print(f"Left out, counted from 1 without the heading: {named}")
