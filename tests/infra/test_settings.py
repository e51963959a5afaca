"""A setting that cannot be is one line that names its environment variable."""

import pytest

from infra.settings import Settings, SettingUnusable


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WHITECROW_AUTH", "maybe", "valid boolean"),
        ("WHITECROW_DEADLINE_SECONDS", "0", "greater than 0"),
        ("WHITECROW_DEADLINE_SECONDS", "61", "less than or equal to 60"),
        ("WHITECROW_BATCH_DEADLINE_SECONDS", "soon", "valid number"),
        ("WHITECROW_MAX_UNDER_WAY", "0", "greater than or equal to 1"),
        ("WHITECROW_MAX_CONNECTIONS", "0", "greater than or equal to 1"),
        ("WHITECROW_TEST_IDENTITIES", "2", "valid boolean"),
    ],
)
def test_what_cannot_be_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingUnusable, match=f"^{name}: .*{message}.*unset it.$"):
        Settings()


def test_keys_are_on_and_test_identities_off_by_default() -> None:
    assert (Settings().auth, Settings().test_identities) == (True, False)
