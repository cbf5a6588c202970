"""fastad.numpy_api.registry, methods, object arrays, and the list of what has no answer."""

import inspect

import numpy as np
import pytest
import test_composites
import test_indexing
import test_reductions
import test_shaping
from checking import X, Y, check, leaves, refused, v

import fastad as fa
from fastad.numpy_api.registry import ANSWERS, METHODS

#: NumPy functions without an answer, and why. An answer that is added has to be taken off this list.
WITHOUT_ANSWER = {
    "a later issue: linear algebra": """
        linalg.cholesky linalg.cond linalg.det linalg.eigh linalg.eigvalsh linalg.inv linalg.lstsq
        linalg.matrix_rank linalg.pinv linalg.qr linalg.slogdet linalg.solve linalg.svd linalg.svdvals linalg.tensorinv
        linalg.tensorsolve""",
    "a later issue: Fourier transforms": """
        fft.fft fft.fft2 fft.fftn fft.hfft fft.ifft fft.ifft2 fft.ifftn fft.ihfft fft.irfft
        fft.irfft2 fft.irfftn fft.rfft fft.rfft2 fft.rfftn""",
    "a later issue: statistics, polynomials and other composites": """
        apply_over_axes geomspace logspace nanmedian nanpercentile
        nanquantile piecewise polyadd polyder polydiv polyfit polyint polymul polysub trim_zeros unwrap""",
    "histograms count; sums of weights by bin are np.bincount": "histogram histogram2d histogram_bin_edges histogramdd",
    "complex results": "angle linalg.eig linalg.eigvals poly roots sort_complex",
    "text or files: the numbers are x.value": "datetime_as_string save savetxt savez savez_compressed",
    "bits, integers, dates or sets: nothing to differentiate": """
        busday_count busday_offset intersect1d is_busday ix_ lexsort
        packbits ravel_multi_index setdiff1d setxor1d union1d unique unique_all unique_counts unique_inverse
        unique_values
        unpackbits unravel_index""",
    "the memory of a Variable belongs to the tape": "may_share_memory shares_memory",
    "write into plain arrays; y[...] = and np.where do the same": "place put_along_axis putmask",
}


def dispatched():
    """The functions of NumPy that ask ``__array_function__``, by name."""
    return {
        prefix + name: f
        for prefix, module in (("", np), ("linalg.", np.linalg), ("fft.", np.fft))
        for name, f in vars(module).items()
        if hasattr(f, "_implementation") and not name.startswith("_")
    }


def test_every_function_has_an_answer_or_a_reason():
    listed = {name for names in WITHOUT_ANSWER.values() for name in names.split()}
    functions = dispatched()
    silent = sorted(name for name, f in functions.items() if f not in ANSWERS and name not in listed)
    assert not silent, f"answer these functions, or list them with a reason in WITHOUT_ANSWER: {silent}"
    answered = sorted(name for name in listed if functions.get(name) in ANSWERS)
    assert not answered, f"these have an answer: take them off WITHOUT_ANSWER: {answered}"


def test_an_unsupported_function_says_so():
    for name in ("lexsort", "unique", "savetxt"):
        with pytest.raises(TypeError, match=f"numpy.*{name}.*"):
            fa.numpy_api.ufuncs.missing(getattr(np, name))
    refused(np.lexsort, "numpy.lexsort", "fa.custom_vjp")
    refused(np.linalg.cond, "numpy.linalg.cond")
    refused(np.fft.fft, "numpy.fft.fft")


def test_parameters_have_numpys_names():
    odd = []
    for function, answer in ANSWERS.items():
        if not hasattr(function, "_implementation"):
            continue
        try:
            theirs = list(inspect.signature(function).parameters)
        except ValueError:
            continue
        code = getattr(answer, "__closure__", None)
        inner = next((c.cell_contents for c in code or () if inspect.isfunction(c.cell_contents)), None)
        if inner is None or inner is function:
            continue
        ours = [
            p.name
            for p in inspect.signature(inner).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        if ours[1:] != theirs[1 : len(ours)]:  # the first is passed by position, whatever its name
            odd.append(f"{function.__module__}.{function.__name__}: {ours} is no beginning of {theirs}")
    assert not odd, "\n".join(odd)


def test_the_first_argument_may_be_named():
    check(lambda x: np.flip(m=x, axis=0), X)
    check(lambda x: np.sum(a=x, axis=1), X)


def test_methods():
    x = fa.Variable(X)
    for name in (
        "sum",
        "mean",
        "prod",
        "var",
        "std",
        "max",
        "min",
        "argmax",
        "cumsum",
        "dot",
        "reshape",
        "ravel",
        "flatten",
        "transpose",
        "swapaxes",
        "squeeze",
        "clip",
        "take",
        "repeat",
        "diagonal",
        "trace",
        "round",
        "any",
        "all",
        "nonzero",
        "astype",
        "conj",
        "sort",
        "fill",
    ):
        assert name in METHODS and name in dir(x)
    check(lambda x: fa.variable.array(x).exp() if isinstance(x, fa.Variable) else np.exp(x), X)
    with pytest.raises(AttributeError, match="frobnicate"):
        x.frobnicate  # noqa: B018 (the attribute error is what is tested)


# ---- awkward shapes ---------------------------------------------------------------------------------------------
AWKWARD = {f"{module.__name__}: {name}": f for module, cases in (
    (test_reductions, test_reductions.REDUCTIONS), (test_shaping, test_shaping.VIEWS),
    (test_shaping, test_shaping.COPIES),
    (test_composites, test_composites.CASES), (test_indexing, test_indexing.PLAIN)) for name, f in cases.items()}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")      # NumPy's, of means of nothing
@pytest.mark.parametrize("name", AWKWARD)
def test_where_numpy_works_fastad_does(name):
    f = AWKWARD[name]
    for shape in [(), (0,), (1,), (3,), (0, 3), (3, 0), (1, 1), (4, 4), (2, 0, 3)]:
        x = np.random.default_rng(1).uniform(0.3, 0.9, shape)
        try:
            want = leaves(f(np.array(x)))
        except Exception:                          # NumPy refuses
            continue
        for operand in (fa.Variable(x), fa.Variable(x) * 1.0, fa.Variable(x).detach()):
            for a, b in zip(leaves(f(operand)), want, strict=True):
                assert a.shape == b.shape, shape
                if b.dtype != object:
                    np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=str(shape))


# ---- object arrays --------------------------------------------------------------------------------------------
A = Y[:, :2]
OBJECTS = {
    "power": lambda x: np.sum(np.array([x[0] * 2, x[1]]) ** 2),
    "matmul": lambda x: A @ np.array([x[0], x[1] * x[0]]),
    "dot": lambda x: np.dot(A, np.array([x[0], x[1]])),
    "dot method": lambda x: np.array([x[0], x[1]]).dot(np.array([x[1], 2.0])),
    "mean": lambda x: np.mean(np.array([x[0], x[1], x[2] * x[2]])),
    "exp": lambda x: np.sum(np.exp(np.array([x[0], x[1]]))),
    "sqrt": lambda x: np.sum(np.sqrt(np.array([x[0] * x[0], x[1] * x[1]]))),
    "stack": lambda x: (
        fa.array(np.stack([np.array([x[0], x[1]]), np.array([x[2], 1.0])]))
        if isinstance(x, fa.Variable)
        else np.stack([x[:2], np.array([x[2], 1.0])])
    ),
    "with a Variable": lambda x: np.array([x[0], x[1]]) * x[:2],
    "Variable first": lambda x: x[:2] + np.array([x[0], x[1]]),
    "with plain": lambda x: np.sum(np.array([x[0], x[1]]) * np.array([2.0, 3.0])),
    "concatenate": lambda x: np.concatenate([np.array([x[0], 1.0]), x]),
    "where": lambda x: np.where(np.array([True, False]), np.array([x[0], x[1]]), x[3:5]),
    "2-d": lambda x: np.array([[x[0], x[1]], [x[2], 1.0]]) @ x[:2],
    "norm": lambda x: np.linalg.norm(np.array([x[0], x[1]])),
    "maximum": lambda x: np.maximum(np.array([x[0], x[1]]), x[1:3]),
    "max": lambda x: np.max(np.array([x[0], x[1]])),
    "cumsum": lambda x: np.cumsum(np.array([x[0], x[1]]))[1],
    "tanh": lambda x: np.sum(np.tanh(np.array([x[0], x[1]]))),
    "arctan2": lambda x: np.sum(np.arctan2(np.array([x[0], x[1]]), np.array([x[2], 1.0]))),
    "hypot": lambda x: np.sum(np.hypot(np.array([x[0], x[1]]), 2.0)),
    "einsum": lambda x: np.einsum("i,i", np.array([x[0], x[1]]), x[:2]),
    "outer": lambda x: np.outer(np.array([x[0], x[1]]), x),
    "list of Variables": lambda x: np.sum([x[0], x[1] * x[2]]),
    "dot list": lambda x: np.dot(x, [x[0], x[1], x[2], 1.0, 2.0]),
}




@pytest.mark.parametrize("name", OBJECTS)
def test_object_arrays_of_scalar_variables(name):
    f = OBJECTS[name]

    def scalar(x):
        out = f(x)
        return np.sum(out * np.arange(1.0, np.size(out) + 1).reshape(np.shape(out)))

    value, g = fa.value_and_grad(scalar)(v)
    plain = scalar(v)
    np.testing.assert_allclose(value, plain, rtol=1e-13)
    for k in range(5):
        e = np.eye(5)[k] * 1e-6
        np.testing.assert_allclose(g[k], (scalar(v + e) - scalar(v - e)) / 2e-6, rtol=1e-6, atol=1e-7)


def test_arrays_of_variables_do_not_become_object_arrays():
    x = fa.Variable(X)
    with pytest.raises(TypeError, match=r"fa\.array"):
        np.array([x[0], x[1]])
