"""The service speaks TLS where certificate and key are given, and checks them before it starts."""

import ipaddress
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving.access.tls import Tls, TlsUnusable
from serving.launch import ServiceNotReady, free_port, running_service


def write_pair(folder: Path, *, password: bytes | None = None) -> tuple[Path, Path]:
    """A certificate that this machine signed itself, for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "whitecrow tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    lock = serialization.BestAvailableEncryption(password) if password else (
        serialization.NoEncryption()
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    )
    return paths


def test_it_scores_over_https_and_over_nothing_else(new_home, shop_row, tmp_path: Path) -> None:
    new_home(tmp_path)
    certificate, key = write_pair(tmp_path)
    port = free_port()
    trust = ssl.create_default_context(cafile=certificate)
    with (
        (tmp_path / "service.log").open("w") as log,
        running_service(
            ["shop"], port=port, home=tmp_path, tls=Tls(certificate, key), log=log.fileno()
        ),
        httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, timeout=10) as client,
    ):
        _wait(client)
        answer = client.post("/v1/score", json=shop_row())
        with pytest.raises(httpx.TransportError):
            httpx.post(f"http://127.0.0.1:{port}/v1/score", json=shop_row())

    assert answer.status_code == 200
    assert answer.json()["decision"] == "approve"


def test_certificate_and_key_must_belong_together(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path / "one")
    other_certificate, other_key = write_pair(tmp_path / "other")
    _, locked = write_pair(tmp_path / "locked", password=b"secret")
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")

    for pair in [
        (certificate, other_key), (other_certificate, key), (certificate, tmp_path / "absent"),
        (no_pem, key), (certificate, locked),
    ]:  # fmt: skip
        with pytest.raises(TlsUnusable, match="Cannot speak HTTPS with .*as PEM files"):
            Tls(*pair)


def test_one_without_the_other_is_refused(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path)

    assert Tls.of(None, None) is None
    assert Tls.of(certificate, key) == Tls(certificate, key)
    for pair in [(certificate, None), (None, key)]:
        with pytest.raises(TlsUnusable, match="both --ssl-certfile and --ssl-keyfile"):
            Tls.of(*pair)


def _wait(client: httpx.Client) -> None:
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise ServiceNotReady("the service does not answer over HTTPS")
