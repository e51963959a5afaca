"""``--include trees``: what it lets in, and what it refuses."""

import sys
from pathlib import Path

import pytest

from balancing.extras import MissingExtra
from flows.bakeoff.members import UnknownMember
from flows.moments import RequestError
from flows.request import train_request
from flows.run_config import AUTO_MEMBERS, RunConfigError, read_run_config
from flows.search import candidates

LIBRARIES = ["lightgbm", "xgboost"]


@pytest.fixture
def _libraries() -> None:
    for library in LIBRARIES:
        pytest.importorskip(library)


def _read(tmp_path: Path, toml: str = "", **given):
    path = tmp_path / "run.toml"
    path.write_text(toml)
    return read_run_config(path, **{"strategy": None, "seed": None, **given})


@pytest.mark.usefixtures("_libraries")
def test_a_search_tries_trees_right_after_plain_training(tmp_path):
    config = _read(tmp_path, strategy="auto", include="trees")

    jobs = candidates(config.search, config, Path("features"), Path("search"))

    assert [job.member for job in jobs[:4]] == ["erm", "lightgbm", "xgboost", AUTO_MEMBERS[1]]
    assert len({(job.member, str(job.strategy)) for job in jobs}) == len(jobs)


@pytest.mark.usefixtures("_libraries")
def test_candidates_of_ones_own_keep_their_place(tmp_path):
    toml = '[search]\nmembers = ["xgboost", "erm"]'

    config = _read(tmp_path, toml, include="trees")

    assert config.search.members == ("xgboost", "lightgbm", "erm")


@pytest.mark.usefixtures("_libraries")
@pytest.mark.parametrize("kind", LIBRARIES)
def test_trees_named_on_the_command_line_leave_a_networks_settings_alone(kind, tmp_path):
    toml = '[strategy.network]\nkind = "mlp"\nwidth = 16'

    assert _read(tmp_path, toml, strategy=kind, include="trees").strategy.kind == kind


@pytest.mark.usefixtures("_libraries")
def test_trees_take_their_settings_from_the_configuration(tmp_path):
    toml = 'include = ["trees"]\n[strategy]\nkind = "lightgbm"\nn_leaves = 7'

    assert _read(tmp_path, toml).strategy.n_leaves == 7
    assert _read(tmp_path, toml, strategy="lightgbm").strategy.n_leaves == 7


@pytest.mark.usefixtures("_libraries")
@pytest.mark.parametrize(
    ("toml", "given", "message"),
    [
        ("", {"strategy": "lightgbm"}, "'lightgbm' grows trees .* Add --include trees"),
        ('[strategy]\nkind = "xgboost"', {}, "'xgboost' grows trees .* Add --include trees"),
        ('[search]\nmembers = ["erm", "xgboost"]', {}, "'xgboost' grows trees"),
        ("", {"include": "trees"}, "--include trees: 'erm' trains a network. Take --strategy auto"),
        ("", {"strategy": "eos", "include": "trees"}, "'eos' trains a network"),
        ("", {"strategy": "auto", "include": "forests"}, "no 'forests', only 'trees'"),
        ("", {"strategy": "catboost", "include": "trees"}, "'catboost' takes part in whitecrow be"),
        ('[search]\nmembers = ["logistic"]', {"include": "trees"}, "'logistic' takes part in"),
        ('[strategy]\nkind = "registered"\nfile = "m"\nsha256 = "' + "0" * 64 + '"', {},
         "Give it to whitecrow register"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(toml, given, message, tmp_path):
    with pytest.raises(RunConfigError, match=message):
        _read(tmp_path, toml, **given)


def test_a_candidate_that_there_is_not_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UnknownMember, match="Did you mean 'xgboost'"):
        _read(tmp_path, '[search]\nmembers = ["xgbost"]')


@pytest.mark.usefixtures("_libraries")
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_library_is_named_with_its_extra(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(MissingExtra, match=rf"--include trees needs {library}.*whitecrow\[trees\]"):
        _read(tmp_path, strategy="auto", include="trees")


@pytest.mark.usefixtures("_libraries")
def test_trees_do_not_grow_on_a_gpu():
    with pytest.raises(RequestError, match="--device: trees grow on the processor"):
        train_request(
            strategy="xgboost", include="trees", device="cuda", data="d", contract="c", actor="a"
        )
