"""Alerts sent to a webhook: signed, tried again, and each noted once it was taken."""

import hashlib
import itertools
from collections.abc import Iterable, Sequence

import httpx
import msgspec

from infra.errors import InputError, Refusal
from serving.alerts import Alert
from serving.outcomes import OutcomeBook
from serving.request_context import now_microseconds
from serving.signed_post import TIMEOUT_SECONDS, NotTaken, SignedPost

_AT_ONCE = 100


class WebhookRefused(Refusal):
    """Raised when a webhook does not take alerts; those before are delivered."""


class WebhookUnusable(InputError):
    """Raised for a webhook without a usable address or a secret."""


class Webhook:
    """Where alerts go, as ``{"alerts": [...]}`` by signed POST, at most 100 at once.

    An alert that was taken with a status of 2xx is never sent there again; one whose answer was
    lost may come twice, and is told by its ``decision_id``.

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
        self._post, self._book = SignedPost(url, secret), book
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
        with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
            while part := list(itertools.islice(waiting, _AT_ONCE)):
                self._send(client, part)
                ids = [alert.decision_id for alert in part]
                self._book.mark_delivered(self._name, ids, now_microseconds())
                n_delivered += len(part)
        return n_delivered

    def _send(self, client: httpx.Client, alerts: Sequence[Alert]) -> None:
        try:
            self._post.send(client, msgspec.json.encode({"alerts": alerts}))
        except NotTaken as error:
            if error.status is not None:
                raise WebhookRefused(
                    f"The webhook answered with status {error.status}: its {len(alerts)} alerts "
                    "stay to be delivered. Mend it, and export again."
                ) from None
            raise WebhookRefused(
                f"The webhook cannot be reached ({error.why}). Check its address, and export again."
            ) from None
