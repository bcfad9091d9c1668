"""The tests' own checker: what it checks, and how often."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import typecheck
from jaxtyping import Float32, TypeCheckError, jaxtyped

from rawdenoise.quality.metrics import psnr


@jaxtyped(typechecker=typecheck.checked)
def double(values: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    return 2 * values


@pytest.fixture(autouse=True)
def _as_in_a_quick_run() -> Iterator[None]:
    typecheck.begin_test(check_all=False)
    yield
    typecheck.begin_test(check_all=False)


def test_the_first_calls_of_each_test_are_checked() -> None:
    good, bad = np.zeros(3, np.float32), np.zeros(3)
    for _ in range(2):
        for _ in range(typecheck.CALLS - 1):
            double(good)
        with pytest.raises(TypeCheckError):
            double(bad)
        for _ in range(2):
            double(good)
        assert double(bad).dtype == np.float64  # those that follow are not
        typecheck.begin_test(check_all=False)


def test_a_long_run_checks_every_call() -> None:
    typecheck.begin_test(check_all=True)
    for _ in range(5 * typecheck.CALLS):
        double(np.zeros(3, np.float32))
    with pytest.raises(TypeCheckError):
        double(np.zeros(3))


def test_the_product_is_checked(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--jaxtyping-packages"):
        pytest.skip("checks are switched off")
    with pytest.raises(TypeCheckError):
        psnr(np.zeros((4, 2, 2), np.float32), "not a picture")  # type: ignore[arg-type]
