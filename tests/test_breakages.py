"""The breakages of `make mutants` still name places and tests that are there; trying them all takes an hour."""

from pathlib import Path

import pytest

from scripts.breakage import Mutant
from scripts.breakages import MUTANTS
from scripts.breakages_fences import FENCES
from scripts.breakages_guard import GUARD_MUTANTS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("mutant", MUTANTS + FENCES + GUARD_MUTANTS, ids=lambda one: f"{one.promise} {one.what}")
def test_a_breakage_names_one_place_and_tests_that_are_there(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1, f"{mutant.file}: {mutant.old!r}"
    assert mutant.new != mutant.old
    assert mutant.tests
    assert [test for test in mutant.tests if not (ROOT / test.partition("::")[0]).exists()] == []
