"""Where a service may listen, and whether it asks for keys there."""

import ipaddress
from enum import StrEnum

from infra.errors import InputError

_CREATE = "whitecrow keys create --scope score --reason TEXT"


class ServiceExposed(InputError):
    """Raised when a service would answer strangers without asking for a key."""


class AuthMode(StrEnum):
    """Whether requests need a key, as ``/v1/model`` says it."""

    KEYS = "keys"
    OPEN = "open on loopback"
    OFF = "off"


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches an address; text that is none is not loopback."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_exposure(address: str, *, auth: bool, has_keys: bool) -> AuthMode:
    """Return how a service that listens on an address asks for keys.

    Args:
        address: To listen on; empty where nobody knows, which counts as open to strangers.
        auth: Whether keys are wanted at all.
        has_keys: Whether a key was ever made; a revoked one counts, so that nothing opens again.

    Raises:
        ServiceExposed: If strangers could ask without a key.
    """
    where = f"on {address}" if address else "on an address that WHITECROW_HOST does not name"
    if not auth:
        if not is_loopback(address):
            raise ServiceExposed(
                f"WHITECROW_AUTH=off is for loopback only, and this service is to listen {where}. "
                "Unset it, or use --host 127.0.0.1."
            )
        return AuthMode.OFF
    if has_keys:
        return AuthMode.KEYS
    if not is_loopback(address):
        raise ServiceExposed(
            f"To listen {where} a service needs API keys, and there is none. Make one: {_CREATE}."
        )
    return AuthMode.OPEN
