"""HTTPS: a certificate and its key, checked before a service is started with them."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from infra.errors import InputError


class TlsUnusable(InputError):
    """Raised when certificate and key are not both there, or do not belong together."""


@dataclass(frozen=True, slots=True)
class Tls:
    """What the service speaks HTTPS with; both files in PEM.

    Raises:
        TlsUnusable: If they cannot be read, or do not belong together.
    """

    certificate: Path
    key: Path

    def __post_init__(self) -> None:
        try:
            # Without a password there is nothing to ask a terminal for.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self.certificate, self.key, password=lambda: ""
            )
        except (OSError, ValueError) as error:
            raise TlsUnusable(
                f"Cannot speak HTTPS with {self.certificate} and {self.key} "
                f"({error.strerror if isinstance(error, OSError) else error}). Give a certificate "
                "and its key as PEM files, the key without a password."
            ) from None

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None) -> "Tls | None":
        """Return both as one; None where neither is given.

        Raises:
            TlsUnusable: If only one is given, or they are no good.
        """
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise TlsUnusable("HTTPS needs both --ssl-certfile and --ssl-keyfile.")
        return cls(certificate.resolve(), key.resolve())

    @property
    def options(self) -> tuple[str, ...]:
        """BentoML's options for them."""
        return ("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key))
