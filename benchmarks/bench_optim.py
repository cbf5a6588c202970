"""Steps of the optimisers; ``python -m benchmarks.bench_optim`` prints them beside PyTorch's, where it is installed."""
import importlib.util
import timeit

import numpy as np

import fastad as fa

OPTIMISERS = {
    "SGD": {}, "SGD, momentum": {"momentum": 0.9}, "Adagrad": {}, "RMSprop": {}, "Adam": {}, "AdamW": {"amsgrad": True},
}


def step_of(name, n):
    """The step of an optimiser of one parameter with n elements."""
    w = fa.Variable(np.zeros(n))
    w.grad = np.ones(n)
    return getattr(fa.optim, name.partition(",")[0])([w], lr=1e-3, **OPTIMISERS[name]).step


def torchs_step_of(name, n):
    """The same of PyTorch."""
    import torch

    torch.set_num_threads(1)
    w = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    w.grad = torch.ones(n, dtype=torch.float64)
    return getattr(torch.optim, name.partition(",")[0])([w], lr=1e-3, **OPTIMISERS[name]).step


class Step:
    """A step, from a gradient that is there."""

    params = (tuple(OPTIMISERS), (10, 10_000))
    param_names = ("optimiser", "n")

    def setup(self, name, n):
        self.step = step_of(name, n)

    def time_step(self, name, n):
        self.step()


class Loop:
    """Gradient and step of a small model, as a user writes it."""

    def setup(self):
        self.w = fa.Variable(np.zeros(10))
        self.optimizer = fa.optim.Adam([self.w])

    def time_epoch(self):
        self.optimizer.zero_grad()
        np.sum((self.w - 1.0) ** 2).backward()
        self.optimizer.step()


def microseconds(step, number=300, repeat=15):
    """The shortest time of a step."""
    return min(timeit.repeat(step, number=number, repeat=repeat)) / number * 1e6


def main():
    """Print the table."""
    peer = importlib.util.find_spec("torch") is not None
    print(f"{'step':16}{'n':>8}{'fastad us':>12}" + (f"{'torch us':>12}{'ratio':>8}" if peer else ""))
    for name in OPTIMISERS:
        for n in Step.params[1]:
            ours = microseconds(step_of(name, n))
            theirs = microseconds(torchs_step_of(name, n)) if peer else np.nan
            print(f"{name:16}{n:8}{ours:12.2f}" + (f"{theirs:12.2f}{theirs / ours:8.1f}" if peer else ""))


if __name__ == "__main__":
    main()
