"""python -m fastad: the data, the model in plain floats, and the whole job."""
import math
import re

import numpy as np
import pytest

import fastad as fa
from fastad import __main__ as job

KNOWN_FIT = [0.5402, 0.0272, 0.7964, 0.0237, 34.60, 5.845]


def test_the_data_set():
    years, hares, lynxes = job.read_counts()
    assert years == list(range(1900, 1921))
    assert (hares[0], lynxes[0], hares[-1], lynxes[-1]) == (30.0, 4.0, 24.7, 8.6)
    assert math.isclose(sum(hares), 715.7) and math.isclose(sum(lynxes), 423.5)


def test_the_integrator_keeps_the_invariant_of_the_equations():
    alpha, beta, gamma, delta = rates = (0.55, 0.028, 0.8, 0.024)

    def invariant(u, v):
        return delta * u - gamma * math.log(u) + beta * v - alpha * math.log(v)

    course = job.populations([math.log(p) for p in (*rates, 34.0, 5.9)], 21, math.exp)
    assert len(course) == 20 * job.STEPS + 1
    np.testing.assert_allclose([invariant(u, v) for u, v in course], invariant(34.0, 5.9), rtol=1e-5)


def test_gradient_of_the_loss():
    p = job.starting_point()
    value, gradient = fa.value_and_grad(job.make_loss(fa.exp, fa.log))(p)
    loss = job.make_loss(math.exp, math.log)
    assert math.isclose(value, loss(p.tolist()), rel_tol=1e-12)
    np.testing.assert_allclose(gradient, job.central_differences(loss, p), rtol=1e-6)


def test_the_job(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "fit.png"
    assert job.main(["--plot", str(picture)]) == 0
    text = capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG") and str(picture) in text
    fitted = [float(re.search(rf"^  {name} +([\d.]+)", text, re.M)[1]) for name, _ in job.PARAMETERS]
    np.testing.assert_allclose(fitted, KNOWN_FIT, rtol=2e-3)
    assert "gradcheck passed" in text
    assert float(re.search(r"iterations, squared error ([\d.]+)", text)[1]) == pytest.approx(2.018662, abs=1e-5)


def test_no_picture(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert job.main(["fit", "--no-plot"]) == 0
    assert "Picture" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_picture_needs_matplotlib(capsys, monkeypatch):
    monkeypatch.setattr(job.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        job.main(["--plot", "fit.png"])
    assert "pip install 'fastad[plot]'" in capsys.readouterr().err


def test_info(capsys):
    assert job.main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"fastad    {fa.__version__}" in text
    assert re.search(r"^build     (release|debug), \S", text, re.M)
    assert re.search(r"^dispatch  (avx512|avx2|baseline)$", text, re.M)
