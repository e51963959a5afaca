from pathlib import Path

import pytest

from flows.bakeoff.fits import read_any
from flows.bakeoff.members import UnknownMember, find_member, find_members, place, shipped_members

MEMBERS = sorted(shipped_members())


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("number", [0, 1, 7])
def test_every_trial_of_every_shipped_member_is_a_configuration(name: str, number: int):
    member = find_member(name)

    read_any(member.trial(number, shared={"training": {"max_epochs": 2}}))

    assert member.about


def test_trials_are_the_same_for_everybody_and_differ_from_each_other():
    member = find_member("erm")

    trials = [member.trial(number) for number in range(6)]

    assert trials == [find_member("erm").trial(number) for number in range(6)]
    assert trials[0] == {"kind": "erm"}
    assert len({str(trial) for trial in trials}) > 3


def test_what_is_shared_is_laid_below_what_a_trial_draws():
    shared = {"network": {"kind": "mlp", "width": 7}, "training": {"max_epochs": 3}}

    trial = find_member("erm").trial(1, shared=shared)

    assert trial["network"]["width"] == 7
    assert trial["training"]["max_epochs"] == 3
    assert set(trial["training"]) > {"max_epochs"}
    assert shared == {"network": {"kind": "mlp", "width": 7}, "training": {"max_epochs": 3}}


def test_a_network_of_another_kind_stays_as_it_is():
    trial = find_member("tabm").trial(0, shared={"network": {"kind": "mlp", "widths": [7]}})

    assert trial["network"] == {"kind": "tabm"}


def test_a_dotted_place_makes_the_tables_on_the_way():
    mapping: dict = {"a": {"b": 1}}

    place(mapping, "a.c.d", 2)

    assert mapping == {"a": {"b": 1, "c": {"d": 2}}}


def test_a_file_is_a_member(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('[strategy]\nkind = "metabalance"\ninner_learning_rate = 0.3\n')

    member = find_member(str(path))

    assert member.name == "mine"
    assert member.trial(0)["inner_learning_rate"] == 0.3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no"),
        ("[strategy", "not valid TOML"),
        ('[strategy]\nkind = "magic"', "strategy.kind: there is no 'magic', only 'erm'"),
        ("[strategy]\nlearning_rat = 1", "There is no key 'strategy.erm.learning_rat'"),
    ],
)
def test_a_file_that_is_no_member_is_refused_in_one_line(tmp_path: Path, text: str, says: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(UnknownMember, match=says) as refused:
        find_member(str(path))

    assert "\n" not in str(refused.value)


def test_two_of_one_name_are_refused(tmp_path: Path):
    path = tmp_path / "erm.toml"
    path.write_text('[strategy]\nkind = "focal"\n')

    with pytest.raises(UnknownMember, match="Two strategies are called 'erm'"):
        find_members(["erm", str(path)])
    assert [member.name for member in find_members(["erm", "eos", "erm"])] == ["erm", "eos"]


def test_an_unknown_name_tells_the_known_ones():
    with pytest.raises(UnknownMember, match=r"Did you mean 'erm'\? Known: .*erm"):
        find_member("ermm")
    with pytest.raises(UnknownMember, match="Cannot read"):
        find_member("absent.toml")
