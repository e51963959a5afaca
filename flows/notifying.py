"""Messages to people: to the log, a webhook, or by e-mail; one target that fails hides no other."""

import logging
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import httpx
import msgspec

from infra.errors import InputError
from infra.settings import Settings
from serving.signed_post import TIMEOUT_SECONDS, NotTaken, SignedPost

LOG = "log"

_SMTP_PORTS = {"smtp": 25, "smtps": 465}
_MAIL_KEYS = {"to", "from", "tls"}

logger = logging.getLogger(__name__)


class TargetUnusable(InputError):
    """Raised for a target that is no address of a known kind, or lacks what it needs."""


class NotDelivered(Exception):
    """Raised when a target does not take a message; says why, without a secret."""


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told.

    Attributes:
        subject: One line.
        lines: More, each of them one thing.
        details: The same for machines, as JSON values.
    """

    subject: str
    lines: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message at one target.

    Attributes:
        target: Its name, without credentials.
        error: Why it did not take the message; None where it did.
    """

    target: str
    error: str | None = None


class Target(Protocol):
    """Where messages go."""

    @property
    def name(self) -> str:
        """Address without credentials."""
        ...

    def send(self, message: Message) -> None:
        """Deliver a message.

        Raises:
            NotDelivered: If that is not possible.
        """
        ...


def notify(targets: Sequence[Target], message: Message) -> list[Delivery]:
    """Deliver a message to every target and return what became of it at each.

    A target that fails is logged as a warning; the others get the message all the same.
    """
    done = []
    for target in targets:
        try:
            target.send(message)
        except NotDelivered as failure:
            facts = {"target": target.name, "why": str(failure)}
            logger.warning("message not delivered", extra=facts)
            done.append(Delivery(target.name, str(failure)))
        else:
            done.append(Delivery(target.name))
    return done


def read_targets(settings: Settings, uris: Sequence[str] | None = None) -> tuple[Target, ...]:
    """Return the targets that URIs name; without any those of ``WHITECROW_NOTIFY``.

    Raises:
        TargetUnusable: If one cannot be used; says which.
    """
    named = settings.notify_targets if uris is None else uris
    return tuple(read_target(settings, uri) for uri in named)


def read_target(settings: Settings, uri: str) -> Target:
    """Return the target that a URI names.

    ``log``: a line in the log. ``https://…`` (or ``http://``): JSON by POST, signed with
    ``WHITECROW_WEBHOOK_SECRET`` as alerts are. ``smtp://USER@HOST:PORT/?to=A,B&from=C`` (or
    ``smtps://``): an e-mail; the password is ``WHITECROW_SMTP_PASSWORD``. ``smtp`` asks for TLS
    (STARTTLS) wherever there is a user; ``&tls=on`` asks for it without one.

    Raises:
        TargetUnusable: If it cannot be used.
    """
    if uri == LOG:
        return LogTarget()
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        return WebhookTarget(uri, settings.webhook_secret)
    if parts.scheme in _SMTP_PORTS and parts.hostname:
        return MailTarget(parts, settings.smtp_password)
    raise TargetUnusable(
        "A target of messages is log, https://ADDRESS or smtp://USER@HOST:PORT/?to=ADDRESS. "
        f"Got {f'{parts.scheme}://…' if parts.scheme else uri}."
    )


class LogTarget:
    """The log of this process."""

    name = LOG

    def send(self, message: Message) -> None:
        """Write one line."""
        logger.warning(message.subject, extra={"lines": list(message.lines)})


class WebhookTarget:
    """An address that takes ``{"subject", "lines", "details"}`` by signed POST.

    Raises:
        TargetUnusable: If there is no secret.
    """

    def __init__(self, url: str, secret: str | None) -> None:
        if not secret:
            raise TargetUnusable(
                "Messages to a webhook are signed: set WHITECROW_WEBHOOK_SECRET to a text that "
                "the receiver knows."
            )
        parts = urlsplit(url)
        # The path and the query of a webhook are often its password.
        self.name = f"{parts.scheme}://{parts.hostname}"
        self._post = SignedPost(url, secret)

    def send(self, message: Message) -> None:
        """Post the message."""
        body = msgspec.json.encode(
            {"subject": message.subject, "lines": message.lines, "details": message.details}
        )
        try:
            with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
                self._post.send(client, body)
        except NotTaken as error:
            raise NotDelivered(error.why) from None


class MailTarget:
    """A mailbox, through an SMTP server.

    Raises:
        TargetUnusable: If nobody is addressed, a key is unknown, or a user has no password.
    """

    def __init__(self, parts: SplitResult, password: str | None) -> None:
        asked = parse_qs(parts.query)
        unknown = sorted(asked.keys() - _MAIL_KEYS)
        recipients = tuple(
            name.strip() for each in asked.get("to", []) for name in each.split(",") if name.strip()
        )
        if unknown or not recipients:
            what = f"{unknown[0]!r} is no key of it" if unknown else "it addresses nobody"
            raise TargetUnusable(
                f"Target {parts.scheme}://{parts.hostname}: {what}. "
                "Write smtp://USER@HOST:PORT/?to=ADDRESS&from=ADDRESS."
            )
        if parts.password is not None:
            raise TargetUnusable(
                f"Target {parts.scheme}://{parts.hostname}: a password is no part of it. "
                "Set WHITECROW_SMTP_PASSWORD."
            )
        self._user = None if parts.username is None else unquote(parts.username)
        if self._user is not None and not password:
            raise TargetUnusable(
                f"Target {parts.scheme}://{parts.hostname}: its user has no password. "
                "Set WHITECROW_SMTP_PASSWORD."
            )
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or _SMTP_PORTS[parts.scheme]
        self._is_tls_at_once = parts.scheme == "smtps"
        self._starts_tls = self._user is not None or asked.get("tls") == ["on"]
        self._password, self._recipients = password, recipients
        self._sender = asked.get("from", [f"whitecrow@{parts.hostname}"])[0]
        self.name = f"{parts.scheme}://{self._host}:{self._port}"

    def send(self, message: Message) -> None:
        """Hand the message to the server."""
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.subject.split())
        mail["From"], mail["To"] = self._sender, ", ".join(self._recipients)
        mail["Message-ID"] = make_msgid(domain="whitecrow")
        mail.set_content("\n".join((message.subject, "", *message.lines)))
        try:
            with self._connected() as server:
                server.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            raise NotDelivered(f"{type(error).__name__}") from None

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self._is_tls_at_once:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            if self._starts_tls and not self._is_tls_at_once:
                server.starttls(context=context)
            if self._user is not None and self._password is not None:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server
