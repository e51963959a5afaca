"""Messages to a webhook: signed, and tried again where that may help."""

import hmac
import time

import httpx
import stamina

SIGNATURE = "X-Whitecrow-Signature"
TIMESTAMP = "X-Whitecrow-Timestamp"
TIMEOUT_SECONDS = 10.0

_ATTEMPTS = 5
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})


class NotTaken(Exception):
    """Raised when an address does not take a message.

    Attributes:
        status: Of the answer; None where there was none.
        why: What happened, in a word.
    """

    def __init__(self, status: int | None, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class SignedPost:
    """An address that takes JSON by POST.

    ``X-Whitecrow-Signature`` is ``sha256=`` and the HMAC-SHA256, in hexadecimal, of the text of
    ``X-Whitecrow-Timestamp`` (seconds since 1970), a full stop, and the body.

    Args:
        url: Address; HTTPS, or HTTP.
        secret: Shared with the receiver.
    """

    def __init__(self, url: str, secret: str) -> None:
        self._url, self._secret = url, secret.encode()

    def send(self, client: httpx.Client, body: bytes) -> None:
        """Send one body, some times where that may help.

        Raises:
            NotTaken: If it is not answered with a status of 2xx.
        """
        try:
            for attempt in stamina.retry_context(on=_is_worth_a_retry, attempts=_ATTEMPTS):
                with attempt:
                    self._post(client, body)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise NotTaken(status, f"status {status}") from None
        except httpx.HTTPError as error:
            raise NotTaken(None, type(error).__name__) from None

    def _post(self, client: httpx.Client, body: bytes) -> None:
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: timestamp,
            SIGNATURE: signature(self._secret, timestamp, body),
        }
        response = client.post(self._url, content=body, headers=headers)
        if not response.is_success:  # a redirection is not followed: it was not meant to go there
            raise httpx.HTTPStatusError("not taken", request=response.request, response=response)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return what ``X-Whitecrow-Signature`` must be; compare with ``hmac.compare_digest``."""
    return "sha256=" + hmac.digest(secret, timestamp.encode() + b"." + body, "sha256").hex()


def _is_worth_a_retry(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _WORTH_A_RETRY
    return isinstance(error, httpx.TransportError)
