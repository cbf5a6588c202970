"""python -m fastad selftest: it passes here, and it can fail."""
import numpy as np
import pytest

import fastad as fa
from fastad import __main__ as job
from fastad import selftest


def test_it_passes(capsys):
    assert job.main(["selftest"]) == 0
    text = capsys.readouterr().out
    for title in selftest.CHECKS:
        assert title in text
    assert f"{len(selftest.CHECKS)} of {len(selftest.CHECKS)} checks passed" in text and "FAILED" not in text


def failures():
    lines = []
    count = selftest.run(lines.append)
    found = [title for title in selftest.CHECKS for line in lines if line.startswith("FAILED") and title in line]
    assert len(found) == count
    return found, "\n".join(lines)


def test_a_wrong_value_is_found(monkeypatch):
    monkeypatch.setattr(fa.math, "sin", lambda x: fa.sin(x) * (1.0 + 1e-12))
    found, text = failures()
    assert any(title.startswith("values") for title in found) and "sin" in text


@pytest.mark.parametrize("name", ["tanh", "multiply", "digamma", "softplus"])
def test_a_wrong_partial_is_found(monkeypatch, name):
    right = getattr(fa, name)

    def wrong(*args):
        value = right(*args)
        return value + 1e-3 * (value - fa.stop_gradient(value))

    wrong.__name__ = name
    monkeypatch.setattr(fa.math, name, wrong)
    found, text = failures()
    assert any(title.startswith("gradients") for title in found) and name in text


def test_the_status_says_that_something_failed(monkeypatch, capsys):
    def broken():
        raise AssertionError("not so")

    monkeypatch.setitem(selftest.CHECKS, "a check that fails", broken)
    assert job.main(["selftest"]) == 1
    assert "not so" in capsys.readouterr().out


def test_points_stay_within_the_domain():
    for op in selftest.ROWS:
        for x, (low, high) in zip(selftest.points(op), op.domain, strict=True):
            assert np.all((x > low) & (x < high)), op.name
