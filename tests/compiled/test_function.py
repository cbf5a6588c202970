"""Calls of compiled functions."""
import numpy as np
import pytest

import fastad as fa


def test_values_do_not_need_the_arguments_of_argnums():
    c = fa.compile(lambda x=3.0, y=2.0: x * y)
    assert (c(), c(x=4.0), c(y=5.0, x=1.0), c(2.0, y=0.5)) == (6.0, 8.0, 5.0, 1.0)
    with pytest.raises(ValueError, match="argnums"):
        c.grad(x=4.0)


def test_rows_of_a_batch_that_take_another_branch_share_numbers():
    c = fa.compile(lambda x, k: x[0] * k if x[0] > 0 else x[1] - k)
    X = np.array([[1.0, 2.0], [-1.0, 2.0], [3.0, 4.0], [-3.0, 4.0]])
    np.testing.assert_array_equal(c.batch(X, 2.0, in_axes=(0, None)), [2.0, 0.0, 6.0, 2.0])
    np.testing.assert_array_equal(c.batch.grad(X, 2.0, in_axes=(0, None)), [[2.0, 0.0], [0.0, 1.0]] * 2)
