"""fastad.numpy_api.composites."""

import numpy as np
import pytest
from checking import T, X, Y, check, refused, v

import fastad as fa

W = np.arange(1.0, 5.0)
NODES = np.array([0.0, 1.0, 2.5, 3.0])
CASES = {
    "diff": np.diff,
    "diff n": lambda x: np.diff(x, 2, axis=0),
    "diff ends": lambda x: np.diff(x, prepend=0.0, append=x[:, :1]),
    "ediff1d": lambda x: np.ediff1d(x, to_begin=1.0, to_end=x[0]),
    "trapezoid": np.trapezoid,
    "trapezoid dx": lambda x: np.trapezoid(x, dx=0.1, axis=0),
    "trapezoid x": lambda x: np.trapezoid(x, NODES),
    "trapezoid recorded x": lambda x: np.trapezoid(W, x[0]),
    "trapezoid x axis": lambda x: np.trapezoid(x, NODES[:3], axis=0),
    "gradient": np.gradient,
    "gradient axis": lambda x: np.gradient(x, axis=1),
    "gradient spacing": lambda x: np.gradient(x, 0.5, 2.0),
    "gradient coordinates": lambda x: np.gradient(x, NODES, axis=1),
    "gradient edge": lambda x: np.gradient(x, NODES, axis=-1, edge_order=2),
    "gradient first": lambda x: np.gradient(x, NODES[:3], axis=0),
    "ptp": np.ptp,
    "ptp axis": lambda x: np.ptp(x, axis=0, keepdims=True),
    "average": np.average,
    "average weights": lambda x: np.average(x, axis=1, weights=W),
    "average recorded weights": lambda x: np.average(W, weights=x[0]),
    "average all": lambda x: np.average(x, weights=x * x),
    "average returned": lambda x: np.average(x, axis=1, weights=W, returned=True),
    "average keepdims": lambda x: np.average(x, axis=0, keepdims=True),
    "nansum": lambda x: np.nansum(x, axis=0),
    "nanprod": np.nanprod,
    "nanmean": lambda x: np.nanmean(x, axis=1),
    "nanvar": lambda x: np.nanvar(x, axis=0, ddof=1),
    "nanstd": np.nanstd,
    "cov": np.cov,
    "cov T": lambda x: np.cov(x, rowvar=False),
    "cov two": lambda x: np.cov(x[0], x[1], bias=True),
    "cov vector": lambda x: np.cov(x[0]),
    "corrcoef": np.corrcoef,
    "median": np.median,
    "median axis": lambda x: np.median(x, axis=1),
    "median axes": lambda x: np.median(x, axis=(0, 1), keepdims=True),
    "quantile": lambda x: np.quantile(x, 0.3),
    "quantile many": lambda x: np.quantile(x, [0.0, 0.25, 1.0], axis=0),
    "quantile grid": lambda x: np.quantile(x, [[0.1, 0.2]], axis=1, keepdims=True),
    "percentile": lambda x: np.percentile(x, 30, axis=1),
    "convolve": lambda x: np.convolve(x[0], x[1]),
    "convolve short": lambda x: np.convolve(x[0, :2], x[1]),
    "convolve same": lambda x: np.convolve(x[0], x[1, :3], "same"),
    "convolve same short": lambda x: np.convolve(x[0, :2], x[1], "same"),
    "convolve valid": lambda x: np.convolve(x[0], x[1, :3], mode="valid"),
    "correlate": lambda x: np.correlate(x[0], x[1]),
    "correlate full": lambda x: np.correlate(x[0], x[1, :3], "full"),
    "correlate same": lambda x: np.correlate(x[0], x[1, :3], "same"),
    "polyval": lambda x: np.polyval(x[0], x[1]),
    "polyval plain": lambda x: np.polyval([1.0, 2.0, 3.0], x),
    "polyval coefficients": lambda x: np.polyval(x[0], 2.0),
    "vander": lambda x: np.vander(x[0]),
    "vander increasing": lambda x: np.vander(x[0], 3, increasing=True),
    "interp values": lambda x: np.interp([0.5, 1.7, -1.0, 9.0], NODES, x[0]),
    "interp at": lambda x: np.interp(x, NODES / 3, W * W),
    "interp nodes": lambda x: np.interp([0.45, 0.5, 0.6], np.cumsum(x[0]) / 4, W * W),
    "interp ends": lambda x: np.interp(x * 4, NODES, x[0], left=-1.0, right=x[1, 1]),
    "meshgrid": lambda x: np.meshgrid(x[0], x[1, :3]),
    "meshgrid ij": lambda x: np.meshgrid(x[0], x[:, 1], [1.0, 2.0], indexing="ij"),
    "meshgrid sparse": lambda x: np.meshgrid(x[0], x[:, 1], sparse=True),
    "apply_along_axis": lambda x: np.apply_along_axis(lambda r: r[:2] * r[-1], 1, x),
    "apply to scalars": lambda x: np.apply_along_axis(np.sum, 0, x),
    "insert": lambda x: np.insert(x, 1, 5.0, axis=1),
    "insert rows": lambda x: np.insert(x, [0, 2], x[:2] * 3.0, axis=0),
    "insert flat": lambda x: np.insert(x, 3, x[0, 0]),
    "linspace": lambda x: np.linspace(x[0, 0], 2.0, 5),
    "linspace arrays": lambda x: np.linspace(x[0], x[1], 4, endpoint=False, axis=1),
    "cumulative_sum": lambda x: np.cumulative_sum(x, axis=1, include_initial=True),
    "nancumsum": lambda x: np.nancumsum(x, axis=0),
    "nancumprod": lambda x: np.nancumprod(x),
    "fftshift": np.fft.fftshift,
    "linalg.trace": lambda x: np.linalg.trace(x),
    "linalg.diagonal": lambda x: np.linalg.diagonal(x, offset=1),
    "linalg.cross": lambda x: np.linalg.cross(x[:, :3], x[:, 1:]),
    "np.astype": lambda x: np.astype(x, np.float64),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1) * 1.0,
    "windows 2-d": lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 3)) * 1.0,
}


@pytest.mark.parametrize("name", CASES)
def test_composites(name):
    check(CASES[name], X, rtol=5e-6, atol=1e-6)


def test_nan():
    x = Y.copy()
    x[1, 2] = np.nan
    for f in (np.nansum, np.nanmean, np.nanprod, np.nanvar):
        value, g = fa.value_and_grad(f)(x)
        np.testing.assert_allclose(value, f(x), rtol=1e-13)
        assert g[1, 2] == 0.0 and np.isfinite(g).all()
    assert np.isnan(fa.value_and_grad(np.median)(x)[0])
    np.testing.assert_array_equal(fa.vjp(lambda x: np.quantile(x, 0.3, axis=1), x)[0], np.quantile(x, 0.3, axis=1))


def test_larger_arrays():
    check(lambda x: np.gradient(x, axis=(0, 2)), np.concatenate([T, T], axis=0))
    check(lambda x: np.median(x, axis=(0, 2)), T)
    check(lambda x: np.corrcoef(x, x[::-1] ** 2), X)
    check(np.diff, v)


def test_refusals():
    refused(lambda x: np.gradient(x, axis=3), "3", error=np.exceptions.AxisError)
    refused(lambda x: np.gradient(x[:1], axis=0), "gradient", "(1, 4)", error=ValueError)
    refused(lambda x: np.quantile(x, 1.5), "quantile", error=ValueError)
    refused(lambda x: np.quantile(x, 0.5, method="lower"), "quantile", "lower")
    refused(lambda x: np.average(x, weights=np.ones(3)), "average", "(3,)", error=ValueError)
    refused(lambda x: np.convolve(x, x), "convolve", "(3, 4)", error=ValueError)
    refused(lambda x: np.interp(0.5, x[0], x[:, 0]), "interp", "(4,)", "(3,)", error=ValueError)
    refused(lambda x: np.interp(0.5, x[0], x[1], period=2.0), "interp", "period")


@pytest.mark.parametrize("f", [np.convolve, np.correlate], ids=["convolve", "correlate"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_lengths_of_convolutions(f, mode):
    rng = np.random.default_rng(0)
    for n in range(1, 7):
        for m in range(1, 7):
            x, y = rng.normal(size=n), rng.normal(size=m)
            np.testing.assert_allclose(fa.vjp(lambda a, b: f(a, b, mode), x, y)[0], f(x, y, mode), rtol=1e-12)
