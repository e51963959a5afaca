"""The one failure of everything that reads tables."""

from infra.errors import InputError


class DataError(InputError):
    """Raised when a table cannot be read or does not hold what its contract says."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, without its final full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(" .")
