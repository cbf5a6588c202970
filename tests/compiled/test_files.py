"""fastad.compiled.files: what was saved is what is loaded, and a file can do no harm."""
import hashlib
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from comparing import close, rng, same_bits

import fastad as fa
from fastad.compiled.files import MAGIC

DATA, INDEX = np.arange(4.0), np.array([0, 2, 1])
X = rng.normal(size=16)


def everything(x, y, n):
    s = 0.0
    for i in range(len(x)):
        s = s + x[i] * x[i] * y
    s = s + np.sum(np.tanh(x) * DATA[1] + np.sum(x[:4] * DATA)) + np.sum(np.outer(x, x) @ x) + np.max(x)
    s = s + np.sum(x[INDEX] * x[np.argsort(x)][:3]) + np.sum(np.cumsum(x) * n)
    return s * 2 if y > 0 else s


def saved(c, tmp_path):
    c.save(tmp_path / "f.fad")
    return fa.load(tmp_path / "f.fad")


def prepared():
    c = fa.compile(everything, (0, 1))
    for y in (1.0, -1.0):
        c(X, y, 2)
        c.grad(X, y, 2)
        c.hvp(X, y, 2, (X, y))
        c.jvp((X, y, 2), (X, y))
        c.jacobian(X, y, 2)
    return c


def parts(raw):
    n = int.from_bytes(raw[8:16], "little")
    return json.loads(raw[16:16 + n]), raw[16 + n:-32]


def whole(header, body):
    text = json.dumps(header).encode()
    content = MAGIC + len(text).to_bytes(8, "little") + text + body
    return content + hashlib.sha256(content).digest()


def test_all_kinds_and_branches(tmp_path):
    c = prepared()
    d = saved(c, tmp_path)
    for x in (X, rng.normal(size=16)):
        for y in (0.5, -0.5, 2.0):
            for _ in range(2):
                same_bits(d.value_and_grad(x, y, 2), c.value_and_grad(x, y, 2))
                same_bits(d(x, y, 3), c(x, y, 3))
            same_bits(d.hvp(x, y, 2, (x, y)), c.hvp(x, y, 2, (x, y)))
            same_bits(d.jvp((x, y, 2), (x, y)), c.jvp((x, y, 2), (x, y)))
            same_bits(d.jacobian(x, y, 2), c.jacobian(x, y, 2))
    rows = np.stack([X, -X]), np.array([1.0, -1.0]), np.array([2, 3])
    same_bits(d.batch.value_and_grad(*rows), c.batch.value_and_grad(*rows))
    assert [str(p) for p in d.programs] == [str(p) for p in c.programs]


def test_what_was_not_traced_is_an_error(tmp_path):
    c = fa.compile(lambda x: x * 2 if x > 0 else x * 3)
    c(1.0)
    d = saved(c, tmp_path)
    close(d(2.0), 4.0)
    for call in (lambda: d(-1.0), lambda: d(np.ones(2)), lambda: d.grad(1.0), lambda: d.jacobian(1.0), lambda: d(1.0,
            2.0),
                 lambda: d.batch(np.array([1.0, -1.0])), lambda: d.hvp(1.0, 1.0)):
        with pytest.raises(fa.PathError):
            call()
    close(d(3.0), 6.0)


def test_nothing_to_save(tmp_path):
    with pytest.raises(ValueError, match="no programs yet"):
        fa.compile(everything).save(tmp_path / "f.fad")
    assert not list(tmp_path.iterdir())


def test_a_loaded_function_is_saved_and_pickled_as_it_is(tmp_path):
    c = prepared()
    d = saved(saved(saved(c, tmp_path), tmp_path), tmp_path)
    e = pickle.loads(pickle.dumps(d))
    e(X, 1.0, 2)
    e = saved(pickle.loads(pickle.dumps(e)), tmp_path)
    for y in (1.0, -1.0):
        same_bits(d.value_and_grad(X, y, 2), c.value_and_grad(X, y, 2))
        same_bits(e.value_and_grad(X, y, 2), c.value_and_grad(X, y, 2))


def test_captured_arrays_are_as_they_were_saved(tmp_path):
    data, index = np.arange(3.0), [2, 0]
    index = np.array(index)
    c = fa.compile(lambda x: np.sum(x * data) + np.sum(x[index] ** 2))
    want = c(X[:3])
    d = saved(c, tmp_path)
    data[:], index[:] = 7.0, 1
    same_bits(d(X[:3]), want)


def test_static_arguments_in_another_process(tmp_path):
    """Also where text has other hashes."""
    code = ["import numpy as np, fastad as fa"]
    kinds = ("text", 3, 2.5, None, (1, ("a", 2.0)), True, -0.0)
    for k, static in enumerate(kinds):
        c = fa.compile(lambda x, how: np.sum(x * (2.0 if how else 3.0)), static_argnums=1)
        c.grad(np.ones(2), static)
        c.save(tmp_path / f"{k}.fad")
        code.append(f"print(fa.load({str(tmp_path / f'{k}.fad')!r}).grad(np.ones(2), {static!r})[0])")
    for seed in ("1", "2"):
        out = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True,
                             env={**os.environ, "PYTHONHASHSEED": seed})
        assert out.stdout.split() == ["2.0" if static else "3.0" for static in kinds]


def test_what_cannot_be_saved(tmp_path):
    class Thing:
        pass

    c = fa.compile(lambda x, t: x * 2, static_argnums=1)
    c(1.0, Thing())
    with pytest.raises(TypeError, match="static argument"):
        c.save(tmp_path / "f.fad")
    twice = fa.custom_vjp(lambda x: 2 * x)
    twice.defvjp(lambda x: (2 * x, None), lambda kept, g: (2 * g,))
    c = fa.compile(lambda x: twice(x))
    c(1.0)
    with pytest.raises(TypeError, match="rule of its own"):
        c.save(tmp_path / "f.fad")
    assert not list(tmp_path.iterdir())


def test_results_keep_form_and_dtype(tmp_path):
    c = fa.compile(lambda x: {"k": np.argmax(x), "m": x > 0, "s": (np.sum(x), [x[::-1], None]), "i": np.argsort(x)})
    c(X)
    d = saved(c, tmp_path)
    r, want = d(-X), c(-X)
    close(r, want)
    assert list(r) == list(want) and r["k"].dtype == np.int64 and r["m"].dtype == bool
    assert type(r["s"]) is tuple and r["s"][1][1] is None


# ---- damage --------------------------------------------------------------------------------------------------------
def load_and_use(path):
    """Load and call in all ways: results or a clear error."""
    d = fa.load(path)
    for call in (lambda: d(X, 1.0, 2), lambda: d.grad(X, 1.0, 2), lambda: d.grad(X, -1.0, 2), lambda: d.hvp(X, 1.0, 2,
            (X, 1.0)),
                 lambda: d.jvp((X, 1.0, 2), (X, 1.0)), lambda: d.jacobian(X, 1.0, 2),
                 lambda: [str(p) for p in d.programs],
                 lambda: d.batch.grad(np.stack([X] * 3), np.ones(3), np.full(3, 2))):
        with suppress(ValueError, TypeError, RuntimeError, IndexError, MemoryError):
            call()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "f.fad"
    prepared().save(path)
    return path.read_bytes()


def test_every_changed_byte_and_every_length_is_noticed(raw, tmp_path):
    path = tmp_path / "f.fad"
    places = {0, 7, 8, 15, 16, len(raw) - 33, len(raw) - 32, len(raw) - 1, *rng.integers(0, len(raw), 200).tolist()}
    for k in places:
        bad = bytearray(raw)
        bad[k] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with pytest.raises(fa.FormatError):
            fa.load(path)
    for n in {0, 1, 8, 16, 47, 48, len(raw) - 1, *rng.integers(0, len(raw), 60).tolist()}:
        path.write_bytes(raw[:n])
        with pytest.raises(fa.FormatError):
            fa.load(path)
    path.write_bytes(raw + b"x")
    with pytest.raises(fa.FormatError):
        fa.load(path)
    with pytest.raises(FileNotFoundError):
        fa.load(tmp_path / "none.fad")


def test_a_header_of_other_things(raw, tmp_path):
    path, (header, body) = tmp_path / "f.fad", parts(raw)
    for other in (None, 1, [], {}, "text", {**header, "ops": ["nothing"] * 3}, {**header, "groups": 7}, {**header,
            "arrays": []},
                  {**header, "argnums": ["a"]}, {k: v for k, v in header.items() if k != "name"}, {**header,
                          "groups": [{}]}):
        path.write_bytes(whole(other, body))
        with pytest.raises(fa.FormatError):
            fa.load(path)


def test_functions_are_found_by_their_names(raw, tmp_path):
    """A version with other opcodes reads the file."""
    header, body = parts(raw)
    path = tmp_path / "f.fad"
    path.write_bytes(whole({**header, "version": "99.0"}, body))
    same_bits(fa.load(path).grad(X, 1.0, 2), prepared().grad(X, 1.0, 2))


@pytest.mark.parametrize("shape", [[1] * 65, [1] * 100, [-1, -16], [-16, -1], [1 << 32, 1 << 32], [0, 1 << 62, 8],
                                   [1 << 62, 4], [15], [17],
                                   [], None, ["16"], [16.5]])
@pytest.mark.parametrize("what", ["results", "inputs"])
def test_shapes_that_are_none(raw, what, shape, tmp_path):
    header, body = parts(raw)
    for group in header["groups"]:
        for path in group["paths"]:
            for p in path["programs"].values():
                for item in p[what]:
                    k = 0 if what == "results" else 1
                    item[k] = shape if item[k] == [16] else item[k]
    (tmp_path / "f.fad").write_bytes(whole(header, body))
    with suppress(fa.FormatError):
        load_and_use(tmp_path / "f.fad")


@pytest.mark.parametrize("seed", range(4))
def test_tables_of_anything(raw, seed, tmp_path):
    """The validation holds without the digest: numbers in the tables are changed, then the digest is made to fit."""
    header, body = parts(raw)
    places, at = [], 0
    for kind, shape in header["arrays"]:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if kind == "<i8" and size:
            places.append((at, size // 8))
        at += size
    r = np.random.default_rng(seed)
    path = tmp_path / "f.fad"
    for _ in range(15):
        bad = bytearray(body)
        for _ in range(r.integers(1, 4)):
            first, n = places[r.integers(len(places))]
            k = first + 8 * int(r.integers(n))
            old = int.from_bytes(bad[k:k + 8], "little", signed=True)
            new = old + int(r.choice([-1000, -512, -8, -2, -1, 1, 2, 8, 512, 1000])) if r.random() < 0.7 else \
                int(r.choice([-(1 << 63), -(1 << 31), -2, -1, 0, 1, 1 << 31, 1 << 40, (1 << 63) - 1]))
            bad[k:k + 8] = max(-(1 << 63), min((1 << 63) - 1, new)).to_bytes(8, "little", signed=True)
        path.write_bytes(whole(header, bytes(bad)))
        with suppress(fa.FormatError):
            load_and_use(path)


# ---- other processes -----------------------------------------------------------------------------------------------
def bowl(x):
    return np.sum((x[1:] - x[:-1] ** 2) ** 2) if x[0] > 0 else np.sum(x ** 2)


compiled_bowl = fa.compile(bowl, passes=False, audit=0)


def test_pickle_keeps_the_options():
    c = fa.compile(bowl, (0,), static_argnums=(), audit=3, passes=False)
    d = pickle.loads(pickle.dumps(c))
    assert (d.argnums, d.single, d.static, d.audit, d.passes) == ([0], False, [], 3, False)
    same_bits(d.grad(X), c.grad(X))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method):
    if method == "spawn" and sys.platform == "win32":
        pytest.skip("the path of test modules is not handed on")
    xs = [rng.normal(size=8) for _ in range(6)]
    compiled_bowl.grad(xs[0])
    with multiprocessing.get_context(method).Pool(2) as pool:
        close(pool.map(compiled_bowl.grad, xs), [fa.grad(bowl)(x) for x in xs])
        close(pool.map(fa.compile(bowl), xs), [bowl(x) for x in xs])


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    c = fa.compile(lambda x: x * x)
    c(1.0)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        c.save(tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
