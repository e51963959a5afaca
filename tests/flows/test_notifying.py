"""Messages reach real servers; a target that fails is said and hides no other."""

import hmac
import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stamina

from flows.notifying import (
    Delivery,
    Message,
    TargetUnusable,
    notify,
    read_target,
    read_targets,
)
from infra.settings import Settings

MESSAGE = Message("stream:1: 2 findings", ("A has moved.", "B is missing."), {"action": "notify"})


class Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server that takes mail for one address, and keeps it."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailSession)
        self.mails: list[str] = []

    @property
    def port(self) -> int:
        return self.server_address[1]


class _MailSession(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 mailbox\r\n")
        for raw in self.rfile:
            verb = raw.decode().strip().upper()
            if verb.startswith("RCPT TO:") and "NOBODY" in verb:
                self.wfile.write(b"550 no such mailbox\r\n")
            elif verb == "DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                for line in self.rfile:
                    if line == b".\r\n":
                        break
                    lines.append(line.decode())
                self.server.mails.append("".join(lines))  # type: ignore[attr-defined]
                self.wfile.write(b"250 taken\r\n")
            elif verb == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


def serving(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    yield from serving(Mailbox())


@pytest.fixture
def webhook() -> Iterator[Any]:
    """A webhook that answers 204 and keeps headers and bodies."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.taken.append((dict(self.headers), body))  # type: ignore[attr-defined]
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the test's output to itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.taken = []  # type: ignore[attr-defined]
    yield from serving(server)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path, webhook_secret="shared", smtp_password="hidden")


def test_a_mail_says_what_was_found_to_everybody_it_names(settings, mailbox) -> None:
    uri = f"smtp://127.0.0.1:{mailbox.port}/?to=ana@example.org,ben@example.org&from=w@example.org"

    done = notify([read_target(settings, uri)], MESSAGE)

    assert done == [Delivery(f"smtp://127.0.0.1:{mailbox.port}")]
    (mail,) = mailbox.mails
    assert "Subject: stream:1: 2 findings" in mail
    assert "From: w@example.org" in mail
    assert "To: ana@example.org, ben@example.org" in mail
    assert "A has moved.\r\nB is missing." in mail


def test_a_webhook_gets_the_message_signed_as_alerts_are(settings, webhook) -> None:
    url = f"http://127.0.0.1:{webhook.server_port}/hook/secret-path"

    (done,) = notify([read_target(settings, url)], MESSAGE)

    assert (done.target, done.error) == ("http://127.0.0.1", None)
    ((headers, body),) = webhook.taken
    signed = headers["X-Whitecrow-Timestamp"].encode() + b"." + body
    assert headers["X-Whitecrow-Signature"] == (
        "sha256=" + hmac.new(b"shared", signed, "sha256").hexdigest()
    )
    assert json.loads(body) == {
        "subject": MESSAGE.subject, "lines": list(MESSAGE.lines), "details": {"action": "notify"},
    }  # fmt: skip


def test_a_target_that_fails_is_named_and_hides_no_other(settings, mailbox, webhook, caplog):
    nobody = f"smtp://127.0.0.1:{mailbox.port}/?to=nobody@example.org"
    closed = "http://127.0.0.1:9/hook?token=secret"
    url = f"http://127.0.0.1:{webhook.server_port}/hook"
    targets = [read_target(settings, uri) for uri in (nobody, closed, "log", url)]

    with stamina.set_testing(True, attempts=1), caplog.at_level(logging.WARNING):
        done = notify(targets, MESSAGE)

    assert [each.error for each in done] == [
        "SMTPRecipientsRefused", "ConnectError", None, None,
    ]  # fmt: skip
    assert len(webhook.taken) == 1
    assert MESSAGE.subject in caplog.messages
    assert caplog.messages.count("message not delivered") == 2
    assert "secret" not in caplog.text


def test_no_credentials_leave_a_server_without_tls(settings, mailbox) -> None:
    target = read_target(settings, f"smtp://ana@127.0.0.1:{mailbox.port}/?to=a@example.org")

    (done,) = notify([target], MESSAGE)

    assert done.error == "SMTPNotSupportedError"
    assert mailbox.mails == []


def test_without_targets_those_of_the_settings_are_told(settings) -> None:
    named = Settings(home=settings.home, notify="log smtp://h/?to=a@b", smtp_password="hidden")

    assert [target.name for target in read_targets(named)] == ["log", "smtp://h:25"]
    assert [target.name for target in read_targets(named, ["log"])] == ["log"]
    assert read_targets(settings) == ()
    assert "hidden" not in repr(named)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://x", "A target of messages is log, https.*Got ftp://…"),
        ("nowhere", "Got nowhere"),
        ("smtp://host:25/", "it addresses nobody"),
        ("smtp://host:25/?to=a@b&bcc=c", "'bcc' is no key of it"),
        ("smtp://u:pw@host/?to=a@b", "a password is no part of it"),
    ],
)
def test_a_target_that_cannot_be_used_is_one_line(settings, uri, message) -> None:
    with pytest.raises(TargetUnusable, match=message) as raised:
        read_target(settings, uri)

    assert "pw" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("smtp://ana@host/?to=a@b", "Set WHITECROW_SMTP_PASSWORD"),
        ("https://host/hook", "set WHITECROW_WEBHOOK_SECRET"),
    ],
)
def test_a_target_without_its_secret_is_one_line(tmp_path, uri, message) -> None:
    with pytest.raises(TargetUnusable, match=message):
        read_target(Settings(home=tmp_path), uri)
