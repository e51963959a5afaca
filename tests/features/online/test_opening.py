"""Opening a state: by name, by file, by server."""

import pytest

from features.online.opening import StateLocationError, open_state, state_file
from features.online.sqlite import SqliteState
from features.velocity import velocity_plan


def test_without_a_uri_the_file_is_named_by_contract_and_feature_set(watched, tmp_path) -> None:
    open_state(watched, folder=tmp_path).close()

    key = velocity_plan(watched).state_key[:12]
    assert state_file(tmp_path, watched) == tmp_path / f"watched-{key}.db"
    assert [path.name for path in tmp_path.iterdir()] == [f"watched-{key}.db"]


def test_a_path_is_a_sqlite_file(watched, tmp_path) -> None:
    state = open_state(watched, str(tmp_path / "there" / "mine.db"), folder=tmp_path)
    state.close()

    assert isinstance(state, SqliteState)
    assert (tmp_path / "there" / "mine.db").is_file()


@pytest.mark.parametrize("uri", ["postgresql://user:secret@host/db", "http://host"])
def test_another_kind_of_store_is_refused_without_repeating_credentials(
    watched, tmp_path, uri
) -> None:
    with pytest.raises(StateLocationError, match="must be a redis:// URI or a file") as refused:
        open_state(watched, uri, folder=tmp_path)

    assert "secret" not in str(refused.value)
