"""Steps of a run: finished ones are facts, and everything else runs again."""

import json
from pathlib import Path

import pytest

from flows.run_folder import RunFolder
from flows.run_steps import RunSteps


class Work:
    """Two steps, the second of which reads what the first wrote."""

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, root / "runs" / "one"
        self.run.mkdir(parents=True, exist_ok=True)
        self.ran: list[str] = []
        self.number = 3

    def first(self) -> int:
        self.ran.append("first")
        (self.run / "number.txt").write_text(str(self.number))
        return self.number

    def second(self) -> str:
        self.ran.append("second")
        (self.run / "deep").mkdir()  # fails if an earlier attempt left it
        (self.run / "deep" / "double.txt").write_text(str(2 * self.number))
        return "done"

    def go(self, *, renew: bool = False) -> RunSteps:
        steps = RunSteps.of(self.run)
        steps.once("first", self.first, renew=renew)
        assert steps.once("second", self.second) == "done"
        return steps


@pytest.fixture
def work(tmp_path) -> Work:
    return Work(tmp_path)


def test_finished_steps_are_not_repeated(work) -> None:
    work.go()
    facts = {path: path.read_bytes() for path in work.run.glob("steps/*.json")}

    steps = work.go()

    assert work.ran == ["first", "second"]
    assert steps.finished() == ["first", "second"]
    assert {path: path.read_bytes() for path in facts} == facts
    assert steps.stopped_at is None


def test_a_step_is_finished_only_with_all_that_it_made(work) -> None:
    work.go()
    fact = json.loads((work.run / "steps" / "second.json").read_text())

    assert list(fact["files"]) == ["runs/one/deep/double.txt"]
    assert fact["result"] == "done"


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_step_runs_again_where_what_it_made_is_no_longer_so(work, damage) -> None:
    work.go()
    made = work.run / "number.txt"
    made.write_text("4") if damage == "changed" else made.unlink()

    work.go()

    # The first step made the same as before, so what the second made of it still holds.
    assert work.ran == ["first", "second", "first"]
    assert made.read_text() == "3"


def test_a_step_that_makes_something_else_has_all_later_ones_run_again(work) -> None:
    work.go()
    work.number = 5

    work.go(renew=True)

    assert work.ran == ["first", "second", "first", "second"]
    assert (work.run / "deep" / "double.txt").read_text() == "10"


def test_a_renewed_step_that_makes_the_same_leaves_later_ones_alone(work) -> None:
    work.go()

    work.go(renew=True)

    assert work.ran == ["first", "second", "first"]


def test_what_a_killed_attempt_left_is_gone_before_the_next_one(work) -> None:
    (work.run / "deep").mkdir()
    (work.run / "deep" / "half.txt").write_text("ha")
    (work.run / ".number.txt.x1y2").write_text("")
    (work.run / "run.json").write_text("{}")

    work.go()

    left = {str(path.relative_to(work.run)) for path in work.run.rglob("*") if path.is_file()}
    assert left == {
        "run.json", "number.txt", "deep/double.txt", "steps/first.json", "steps/second.json",
    }  # fmt: skip


def test_a_step_that_finds_its_own_way_keeps_what_it_had(work) -> None:
    (work.run / "fits").mkdir()
    (work.run / "fits" / "1.json").write_text("{}")

    RunSteps.of(work.run).once("search", lambda: None, goes_on=True)

    fact = json.loads((work.run / "steps" / "search.json").read_text())
    assert list(fact["files"]) == ["runs/one/fits/1.json"]


def test_folders_elsewhere_count_too_and_are_never_removed(work) -> None:
    table = work.root / "features" / "abc"
    table.mkdir(parents=True)
    (table / "table.parquet").write_text("rows")

    def go() -> None:
        steps = RunSteps.of(work.run)
        steps.once("featurize", lambda: work.ran.append("made") or "abc", also=lambda _: [table])

    go()
    go()
    assert work.ran == ["made"]
    (table / "table.parquet").write_text("others")
    go()

    assert work.ran == ["made", "made"]
    assert (table / "table.parquet").read_text() == "others"


def test_where_a_step_fails_it_can_be_told_which(work) -> None:
    steps = RunSteps.of(work.run)
    steps.once("first", work.first)

    with pytest.raises(ZeroDivisionError):
        steps.once("second", lambda: 1 / 0)

    assert steps.stopped_at == "second"
    assert steps.finished() == ["first"]
    assert not steps.is_finished("second")


@pytest.mark.parametrize("content", [b"", b"{", b'{"step": "first"}'])
def test_a_damaged_fact_is_no_fact(work, content) -> None:
    work.go()
    (work.run / "steps" / "first.json").write_bytes(content)

    work.go()

    assert work.ran == ["first", "second", "first"]


def test_bookkeeping_is_no_work_of_a_step(tmp_path) -> None:
    run = RunFolder(tmp_path)

    assert run.is_bookkeeping(tmp_path / "run.json")
    assert run.is_bookkeeping(tmp_path / "steps" / "train.json")
    assert not run.is_bookkeeping(tmp_path / "training.json")
