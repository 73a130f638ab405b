"""Bootstrap intervals against distributions that are known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from claid_ext.evaluation.intervals import bootstrap


def test_two_values_by_hand() -> None:
    # The mean of two draws of {0, 1} is 0, 1/2 and 1 with probabilities 1/4, 1/2 and 1/4.
    assert bootstrap([0, 1], confidence=0.9) == (0.0, 1.0)
    assert bootstrap([0, 1], confidence=0.4) == (0.5, 0.5)


def test_ten_values_are_binomial() -> None:
    # Ten draws of {0, 1}: P(<= 2) = 0.055, P(<= 3) = 0.172, and the same from above.
    assert bootstrap([0, 1] * 5, confidence=0.8) == pytest.approx((0.3, 0.7))


def test_many_values_are_nearly_normal() -> None:
    values = np.random.default_rng(1).random(400)
    low, high = bootstrap(values)
    # 1.645 standard errors on either side hold 90 % of a normal distribution.
    margin = 1.645 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - margin, abs=0.1 * margin)
    assert high == pytest.approx(values.mean() + margin, abs=0.1 * margin)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(2).random(30)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) != bootstrap(values, seed=1)


def test_queries_without_a_value_are_left_out() -> None:
    values = np.random.default_rng(3).random(9)
    assert bootstrap([*values, math.nan]) == bootstrap(values)
    assert all(math.isnan(side) for side in bootstrap([math.nan]))
    assert all(math.isnan(side) for side in bootstrap([]))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"values: wanted shape \(n,\), got \(1, 2\)"):
        bootstrap([[0, 1]])
    with pytest.raises(ValueError, match="confidence: wanted a number between 0 and 1, got 90"):
        bootstrap([0, 1], confidence=90)
