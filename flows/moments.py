"""Moments that a person names on the command line."""

from datetime import UTC, datetime

from infra.errors import InputError


class RequestError(InputError):
    """Raised when a value on the command line cannot be used."""


def parse_moment(text: str | None, option: str = "--as-of") -> datetime | None:
    """Return a moment written in ISO 8601, read as UTC where it has no offset.

    Args:
        text: None for no moment.
        option: What the moment was given as, for the error.

    Raises:
        RequestError: If it is not such a moment.
    """
    try:
        return None if text is None else aware(datetime.fromisoformat(text))
    except ValueError:
        raise RequestError(f"{option}: write a moment like 2018-09-06. Got {text!r}.") from None


def aware(moment: datetime | None) -> datetime | None:
    """Return a moment in its zone; one without is read as UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
