"""Why rows are refused that cannot be written down, or were written down with another content."""

from serving.decisions.record import Identity
from serving.refusals import RequestRefused


def reused(identity: Identity, id_column: str | None) -> RequestRefused:
    """Return the refusal of a row under what named another one before.

    Args:
        identity: Of the row.
        id_column: Of the contract's id; None where it has none.
    """
    if identity.is_header:
        return RequestRefused(
            "idempotency_key_reused",
            "This Idempotency-Key came with another content before. Give each row its own key.",
            status=409,
        )
    return id_reused(id_column)


def id_reused(column: str | None) -> RequestRefused:
    """Return the refusal of a row with the id of another one."""
    return RequestRefused(
        "id_reused",
        "A row with this id but another content was decided before. Give each row its own id.",
        status=409,
        field=column,
    )


def log_unavailable() -> RequestRefused:
    """Return the refusal of a row that cannot be written down now."""
    return RequestRefused(
        "log_unavailable",
        "The decision could not be written down. Send the request again.",
        status=503,
        retry=True,
    )
