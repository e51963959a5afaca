"""Every error code that a client may meet, in one list; tests hold it to the code."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One kind of refusal.

    Attributes:
        status: Of HTTP, where the whole request is refused.
        code: As it stands in the error.
        when: For a person.
        retry: Whether the same request may succeed later.
    """

    status: int
    code: str
    when: str
    retry: bool = False


ERROR_CODES = (
    ErrorCode(400, "malformed_http", "The request is no HTTP"),
    ErrorCode(400, "malformed_json", "Not JSON in UTF-8, or nested too deeply"),
    ErrorCode(400, "duplicate_field", "A field is named twice in one object"),
    ErrorCode(400, "clock_skew", "An event or a report lies too far in the future"),
    ErrorCode(400, "missing_idempotency_key", "The service wants an Idempotency-Key or an id"),
    ErrorCode(400, "invalid_idempotency_key", "The Idempotency-Key is empty or too long"),
    ErrorCode(401, "missing_key", "No API key"),
    ErrorCode(401, "unknown_key", "The API key is unknown, or was revoked"),
    ErrorCode(401, "expired_key", "The API key has expired"),
    ErrorCode(403, "missing_scope", "The API key may not do this"),
    ErrorCode(404, "unknown_path", "No such route"),
    ErrorCode(404, "unknown_model", "No such model, or no default among several"),
    ErrorCode(404, "unknown_decision", "No such decision, or it was retired"),
    ErrorCode(405, "method_not_allowed", "Another method than the Allow header names"),
    ErrorCode(408, "head_too_slow", "The request's headers did not arrive in time", retry=True),
    ErrorCode(408, "body_too_slow", "The request's body did not arrive in time", retry=True),
    ErrorCode(409, "id_reused", "The id of an earlier row, with other content"),
    ErrorCode(409, "idempotency_key_reused", "The key of an earlier row, with other content"),
    ErrorCode(413, "body_too_large", "More than 1 MiB"),
    ErrorCode(413, "too_many_rows", "More than 1,000 rows"),
    ErrorCode(415, "unsupported_media_type", "Not application/json, or an encoded body"),
    ErrorCode(422, "missing_field", "A required field is absent, or null where it must not be"),
    ErrorCode(422, "wrong_type", "Text for a number, a boolean for a number, no object"),
    ErrorCode(422, "unknown_field", "A field that the contract does not know"),
    ErrorCode(422, "invalid_timestamp", "No moment that a clock ever showed"),
    ErrorCode(422, "out_of_range", "A number or text that is too large or too long"),
    ErrorCode(422, "unknown_test_identity", "An id that begins with test: and means nothing"),
    ErrorCode(429, "rate_limited", "The API key asks for more than its rate", retry=True),
    ErrorCode(429, "overloaded", "Too many requests are under way", retry=True),
    ErrorCode(431, "head_too_large", "The request's headers are too large"),
    ErrorCode(500, "internal_error", "The service failed", retry=True),
    ErrorCode(503, "too_many_connections", "Too many connections are open", retry=True),
    ErrorCode(503, "deadline_exceeded", "The answer took too long", retry=True),
    ErrorCode(503, "state_unavailable", "The store of earlier events does not answer", retry=True),
    ErrorCode(503, "log_unavailable", "The decision log does not answer", retry=True),
)
