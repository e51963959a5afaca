"""Refusals: a request, or one row of it, that gets an error instead of an answer."""

from typing import Any

from infra.errors import InputError


class RequestRefused(InputError):
    """Raised when a request, or one row of it, cannot be scored as sent."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 422,
        field: str | None = None,
        retry: bool = False,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.field = field
        self.retry = retry
        self.headers = headers

    def to_json(self) -> dict[str, Any]:
        """Return the error object of an answer."""
        shape = {"code": self.code, "message": str(self), "field": self.field, "retry": self.retry}
        return {"error": shape}


def internal_error() -> RequestRefused:
    """Return the refusal of a row that broke something; the log says what."""
    return RequestRefused(
        "internal_error", "The service failed. Send the request again.", status=500, retry=True
    )


def shown(name: str) -> str:
    """Return a field's name as a message may repeat it; a client may send any length."""
    return name if len(name) <= 64 else f"{name[:63]}…"
