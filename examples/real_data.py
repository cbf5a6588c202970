"""Real data: handwritten digits with a small net, and breast cancer with logistic regression (needs scikit-learn).

The net has 64 inputs, 32 hidden units and 10 outputs and is trained with minibatches and momentum. The logistic
regression minimises the same function as scikit-learn's, so that the coefficients have to agree.
"""
import time

import numpy as np

import fastad as fa


def digits(epochs=30, batch=32, lr=0.1, momentum=0.9):
    """The share of held-out digits that the net reads correctly."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, test_size=0.25, random_state=0, stratify=y)
    rng = np.random.default_rng(0)
    weights = [fa.Variable(rng.normal(size=(64, 32)) / 8.0, name="W1"), fa.Variable(np.zeros(32), name="b1"),
               fa.Variable(rng.normal(size=(32, 10)) / 6.0, name="W2"), fa.Variable(np.zeros(10), name="b2")]
    speed = [np.zeros(w.shape) for w in weights]

    def scores(X):
        W1, b1, W2, b2 = weights
        return fa.relu(X @ W1 + b1) @ W2 + b2

    for _ in range(epochs):
        order = rng.permutation(len(X_train))
        for first in range(0, len(order), batch):
            rows = order[first:first + batch]
            s = scores(X_train[rows])
            s = s - np.max(s.value, axis=1, keepdims=True)          # so that exp cannot overflow
            log_likelihood = s - np.log(np.sum(np.exp(s), axis=1, keepdims=True))
            loss = -np.mean(log_likelihood[np.arange(len(rows)), y_train[rows]])
            loss.backward()
            for w, v in zip(weights, speed, strict=True):
                v *= momentum
                v += w.grad
                w.value -= lr * v
                w.zero_grad()
    with fa.no_grad():
        best = np.argmax(scores(X_test).value, axis=1)
    return float(np.mean(best == y_test))


def breast_cancer():
    """Coefficients and intercept of the logistic regression by fastad and by scikit-learn."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    X, y = load_breast_cancer(return_X_y=True)
    X, sign = StandardScaler().fit_transform(X), 2.0 * y - 1.0

    def loss(p):
        return np.sum(fa.softplus(-sign * (X @ p["coef"] + p["intercept"]))) + 0.5 * np.sum(p["coef"] ** 2)

    result = fa.minimize(loss, {"coef": np.zeros(X.shape[1]), "intercept": 0.0}, method="lbfgs", tol=1e-6)
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(X, y)
    ours = np.append(result.x["coef"], result.x["intercept"])
    return ours, np.append(model.coef_[0], model.intercept_), result


def main():
    """Print it."""
    start = time.perf_counter()
    accuracy = digits()
    print(f"digits: {100 * accuracy:.1f} % of the held-out rows, {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    ours, theirs, result = breast_cancer()
    print(f"breast cancer: largest difference of the {len(ours)} coefficients to scikit-learn's "
          f"{np.max(np.abs(ours - theirs)):.1e}, {result.nit} iterations, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
