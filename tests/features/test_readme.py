"""The examples in the package's README do what it says."""

import doctest
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "features" / "README.md"


def test_the_examples_in_the_readme_are_true() -> None:
    outcome = doctest.testfile(str(README), module_relative=False, encoding="utf-8")

    assert outcome.attempted > 30
    assert outcome.failed == 0
