"""Alerts sent to a webhook: signed, tried again, and each noted once it was taken."""

import hashlib
import hmac
import itertools
import time
from collections.abc import Iterable, Sequence

import httpx
import msgspec
import stamina

from infra.errors import InputError, Refusal
from serving.alerts import Alert
from serving.outcomes import OutcomeBook
from serving.request_context import now_microseconds

SIGNATURE = "X-Whitecrow-Signature"
TIMESTAMP = "X-Whitecrow-Timestamp"

_AT_ONCE = 100
_TIMEOUT_SECONDS = 10.0
_ATTEMPTS = 5
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})


class WebhookRefused(Refusal):
    """Raised when a webhook does not take alerts; those before are delivered."""


class WebhookUnusable(InputError):
    """Raised for a webhook without a usable address or a secret."""


class Webhook:
    """Where alerts go, as ``{"alerts": [...]}`` by POST, at most 100 at once.

    ``X-Whitecrow-Signature`` is ``sha256=`` and the HMAC-SHA256, in hexadecimal, of the text of
    ``X-Whitecrow-Timestamp`` (seconds since 1970), a full stop, and the body. An alert that was
    taken with a status of 2xx is never sent there again; one whose answer was lost may come twice,
    and is told by its ``decision_id``.

    Args:
        url: Address; HTTPS, or HTTP.
        secret: Shared with the receiver.
        book: Where deliveries are noted.

    Raises:
        WebhookUnusable: If the address is none, or there is no secret.
    """

    def __init__(self, url: str, secret: str | None, book: OutcomeBook) -> None:
        if not url.startswith(("http://", "https://")):
            raise WebhookUnusable("--webhook must begin with https:// or http://.")
        if not secret:
            raise WebhookUnusable(
                "Alerts are signed: set WHITECROW_WEBHOOK_SECRET to a text that the receiver knows."
            )
        self._url, self._secret, self._book = url, secret.encode(), book
        # An address may hold a password: what is noted tells addresses apart, and nothing else.
        self._name = hashlib.sha256(url.encode()).hexdigest()[:16]

    def deliver(self, alerts: Iterable[Alert]) -> int:
        """Send what was not taken yet, in order, and return how many alerts that were.

        Raises:
            WebhookRefused: If one request is not taken, after some attempts where that may help.
        """
        taken = self._book.delivered(self._name)
        waiting = (alert for alert in alerts if alert.decision_id not in taken)
        n_delivered = 0
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            while part := list(itertools.islice(waiting, _AT_ONCE)):
                self._send(client, part)
                ids = [alert.decision_id for alert in part]
                self._book.mark_delivered(self._name, ids, now_microseconds())
                n_delivered += len(part)
        return n_delivered

    def _send(self, client: httpx.Client, alerts: Sequence[Alert]) -> None:
        body = msgspec.json.encode({"alerts": alerts})
        try:
            for attempt in stamina.retry_context(on=_is_worth_a_retry, attempts=_ATTEMPTS):
                with attempt:
                    self._post(client, body)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise WebhookRefused(
                f"The webhook answered with status {status}: its {len(alerts)} alerts stay to be "
                "delivered. Mend it, and export again."
            ) from None
        except httpx.HTTPError as error:
            raise WebhookRefused(
                f"The webhook cannot be reached ({type(error).__name__}). Check its address, and "
                "export again."
            ) from None

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
