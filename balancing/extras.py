"""Packages that only some methods need, and what to say where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra.errors import InputError


class MissingExtra(InputError):
    """Raised when a method needs a package that is not installed; names the extra with it."""


@contextmanager
def extra(name: str, *, needed_by: str) -> Iterator[None]:
    """Turn a failed import inside into one line that says what to install.

    Args:
        name: Of the extra in ``pyproject.toml``.
        needed_by: What the import is for, as the message should begin.

    Raises:
        MissingExtra: If an import inside fails.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(
            f"{needed_by} needs {error.name or 'a package'}, which is not installed: "
            f"pip install 'whitecrow[{name}]'."
        ) from None
