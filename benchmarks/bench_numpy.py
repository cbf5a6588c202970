"""NumPy's array functions by family: on arrays without gradients, recorded, and recorded with their sweep."""

import numpy as np

import fastad as fa

#: Functions of a square matrix with positive numbers, by family and name.
FUNCTIONS = {
    "reductions: sum": lambda A: np.sum(A, axis=0),
    "reductions: mean": lambda A: np.mean(A, axis=1),
    "reductions: var": lambda A: np.var(A),
    "reductions: max": lambda A: np.max(A, axis=1),
    "reductions: prod": lambda A: np.prod(A[:3], axis=0),
    "reductions: cumsum": lambda A: np.cumsum(A, axis=1),
    "reductions: sort": lambda A: np.sort(A, axis=1),
    "shaping: reshape": lambda A: np.reshape(A, -1),
    "shaping: transpose": lambda A: np.transpose(A),
    "shaping: concatenate": lambda A: np.concatenate([A, A]),
    "shaping: stack": lambda A: np.stack([A, A]),
    "shaping: pad": lambda A: np.pad(A, 1),
    "shaping: tile": lambda A: np.tile(A, (2, 2)),
    "indexing: slice": lambda A: A[1:, ::2],
    "indexing: gather": lambda A: A[[2, 0, 1, 1]],
    "indexing: mask": lambda A: A[np.eye(len(A), dtype=bool)],
    "indexing: take": lambda A: np.take(A, [0, 2], axis=1),
    "indexing: where": lambda A: np.where(A.T > 0.5, A, 0.0),
    "linalg: dot": lambda A: np.dot(A, A),
    "linalg: matmul": lambda A: A @ A.T,
    "linalg: outer": lambda A: np.outer(A[0], A[1]),
    "linalg: einsum": lambda A: np.einsum("ij,kj->ik", A, A),
    "linalg: norm": lambda A: np.linalg.norm(A),
    "composites: clip": lambda A: np.clip(A, 0.2, 0.8),
    "composites: diff": lambda A: np.diff(A, axis=0),
    "composites: interp": lambda A: np.interp(A[0], [0.0, 0.5, 1.0], [0.0, 2.0, 3.0]),
    "composites: logsumexp": lambda A: fa.logsumexp(A, axis=1),
}


class Function:
    """A function of an n x n matrix."""

    params = (tuple(FUNCTIONS), (3, 100), ("NumPy", "recorded", "recorded and swept"))
    param_names = ("function", "n", "by")

    def setup(self, name, n, by):
        self.f = FUNCTIONS[name]
        A = np.random.default_rng(0).uniform(0.1, 1.0, (n, n))
        self.A = A if by == "NumPy" else fa.Variable(A)
        self.seed = np.ones(np.shape(self.f(A))) if by == "recorded and swept" else None

    def time_call(self, name, n, by):
        value = self.f(self.A)
        if self.seed is not None:
            value.backward(self.seed)
