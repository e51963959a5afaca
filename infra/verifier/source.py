"""Where the checks read from: rows of a database, whatever kind it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from infra.verifier.group_content import Place

Decode = Callable[[bytes], list[Place]]
"""Returns the decisions of a group; raises ``ValueError`` for bytes that are no group's."""


class Source(Protocol):
    """A database, as it is at one moment."""

    def rows(self, statement: str, *values: Any) -> Iterator[Sequence[Any]]:
        """Yield the rows of a statement that is written with ``?``; nothing without its table."""
        ...


OpenSource = Callable[[], AbstractContextManager[Source]]
"""Opens a database for reading."""
