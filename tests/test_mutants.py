"""Every safeguard that can be removed is where `tests.mutants` looks for it."""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.missing)
def test_its_text_stands_once_and_its_tests_exist(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.text) == 1
    assert all((ROOT / name.partition("::")[0]).exists() for name in mutant.tests)
