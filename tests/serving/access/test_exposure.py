"""Without keys only this machine is answered."""

import pytest

from serving.access.exposure import AuthMode, ServiceExposed, check_exposure, is_loopback


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("", False), ("loopback", False),
    ],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("address", "auth", "has_keys", "expected"),
    [
        ("127.0.0.1", True, False, AuthMode.OPEN),
        ("127.0.0.1", True, True, AuthMode.KEYS),
        ("0.0.0.0", True, True, AuthMode.KEYS),
        ("", True, True, AuthMode.KEYS),
        ("::1", False, True, AuthMode.OFF),
    ],
)
def test_keys_are_asked_for_unless_nobody_else_can_ask(
    address: str, auth: bool, has_keys: bool, expected: AuthMode
) -> None:
    assert check_exposure(address, auth=auth, has_keys=has_keys) is expected


@pytest.mark.parametrize(
    ("address", "auth", "message"),
    [
        ("0.0.0.0", True, "listen on 0.0.0.0 .*needs API keys.*whitecrow keys create"),
        ("", True, "WHITECROW_HOST.*whitecrow keys create"),
        ("10.0.0.1", False, "WHITECROW_AUTH=off is for loopback only.*--host 127.0.0.1"),
    ],
)
def test_strangers_without_keys_are_refused_with_a_way_out(
    address: str, auth: bool, message: str
) -> None:
    with pytest.raises(ServiceExposed, match=message):
        check_exposure(address, auth=auth, has_keys=False)
