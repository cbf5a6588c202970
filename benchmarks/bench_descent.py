"""1,000 iterations of gradient descent on two variables, and many fits side by side."""

import importlib.util
import time

import numpy as np

import fastad as fa

ITERATIONS = 1000
START = np.array([-1.2, 1.0])
#: Step lengths that neither diverge nor converge before the iterations are done.
LR = {"gd": 1e-3, "momentum": 1e-4, "adam": 1e-3}


def rosen(x):
    """Rosenbrock's function of two variables."""
    return 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2


def by_hand(method, iterations=ITERATIONS):
    """The last place of the descent as one writes it with NumPy: gradient by hand, values and norms written down."""
    x, m, s, values, norms = START.copy(), np.zeros(2), np.zeros(2), [], []
    for k in range(1, iterations + 1):
        a, b = x[1] - x[0] ** 2, 1.0 - x[0]
        g = np.array([-400.0 * x[0] * a - 2.0 * b, 200.0 * a])
        values.append(100.0 * a * a + b * b)
        norms.append(np.sqrt(g @ g))
        if method == "adam":
            m = 0.9 * m + 0.1 * g
            s = 0.999 * s + 0.001 * g * g
            x = x - LR["adam"] * (m / (1 - 0.9 ** k)) / (np.sqrt(s / (1 - 0.999 ** k)) + 1e-8)
        else:
            m = (0.9 if method == "momentum" else 0.0) * m + g
            x = x - LR[method] * m
    return x


def by_torch(method, iterations=ITERATIONS):
    """The descent as one writes it with torch.optim."""
    import torch

    torch.set_num_threads(1)
    x = torch.tensor(START.copy(), requires_grad=True)
    kinds = {"gd": torch.optim.SGD, "momentum": torch.optim.SGD, "adam": torch.optim.Adam}
    optimiser = kinds[method]([x], lr=LR[method], **({"momentum": 0.9} if method == "momentum" else {}))
    for _ in range(iterations):
        optimiser.zero_grad()
        rosen(x).backward()
        optimiser.step()
    return x.detach().numpy()


class Descent:
    """1,000 iterations, all included: from the call of minimize to its result."""

    params = (tuple(LR),)
    param_names = ("method",)

    def setup(self, method):
        self.compiled = fa.compile(rosen)
        self.fastad(method)

    def fastad(self, method):
        """The result of fastad."""
        return fa.minimize(self.compiled, START, method=method, lr=LR[method], tol=0.0, max_iter=ITERATIONS)

    def time_fastad(self, method):
        self.fastad(method)

    def time_numpy_by_hand(self, method):
        by_hand(method)


class Many:
    """1,000 fits from different starts, for each of them."""

    def setup(self):
        self.compiled = fa.compile(rosen)
        self.starts = np.random.default_rng(0).normal(size=(1000, 2))
        self.time_lbfgs()

    def time_lbfgs(self):
        fa.minimize_many(self.compiled, self.starts)

    def time_gradient_descent(self):
        fa.minimize_many(self.compiled, self.starts, method="gd", accept="armijo")


def best_time(function, repeat):
    """The shortest time of some calls, in milliseconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def compare(peers, repeat):
    """Print the table; all have to arrive at the same place."""
    torch = peers and importlib.util.find_spec("torch") is not None
    print(f"\n{ITERATIONS:,} iterations on two variables, ms (best of the repeats)")
    for method in LR:
        suite = Descent()
        suite.setup(method)
        last = fa.minimize(suite.compiled, START, method=method, lr=LR[method], tol=0.0, max_iter=ITERATIONS,
                           record_x=True).history["x"][-1]
        others = {"NumPy by hand": by_hand, **({"torch.optim": by_torch} if torch else {})}
        own = best_time(lambda suite=suite, method=method: suite.fastad(method), 20 * repeat)
        print(f"{method:10s}{'fastad':16s}{own:10.3f}              target <= 1 ms")
        for name, function in others.items():
            found = function(method)
            np.testing.assert_allclose(found, last, rtol=1e-6)
            other = best_time(lambda function=function, method=method: function(method), max(2, repeat // 3))
            target = 50 if function is by_torch else 20
            print(f"{'':10s}{name:16s}{other:10.3f}{other / own:10.0f}x   target >= {target}x")
