"""CasADi: SX expressions on its virtual machine, called through buffers, which is its fastest way from Python."""

from __future__ import annotations

import casadi as ca
import numpy as np

from ...workloads import scalar_chain
from ..functions import lotka_volterra, rosenbrock_loop
from ..measure import Run


def rosenbrock(x):
    return rosenbrock_loop(ca.vertsplit(x))


def lennard_jones(x):
    energy = 0
    n = x.numel() // 3
    for i in range(n):
        for j in range(i):
            s = 1 / ca.sumsqr(x[3 * i:3 * i + 3] - x[3 * j:3 * j + 3])
            s3 = s * s * s
            energy += 4 * (s3 * s3 - s3)
    return energy


def reprojection(q, seen):
    rotation, centre, focal, principal, radial, point, weight = ca.vertsplit(q, [0, 3, 6, 7, 9, 11, 14, 15])
    moved = point - centre
    angle = ca.sqrt(ca.sumsqr(rotation))
    axis = rotation / angle
    turned = (moved * ca.cos(angle) + ca.cross(axis, moved) * ca.sin(angle)
              + axis * (ca.dot(axis, moved) * (1 - ca.cos(angle))))
    image = turned[:2] / turned[2]
    r2 = ca.sumsqr(image)
    return weight * (principal + focal * (1 + radial[0] * r2 + radial[1] * r2 * r2) * image - seen)


def buffered(f, inputs, outputs):
    """A call of a function on buffers."""
    buffer, trigger = f.buffer()
    for k, x in enumerate(inputs):
        buffer.set_arg(k, memoryview(x))
    for k, x in enumerate(outputs):
        buffer.set_res(k, memoryview(x))
    return Run(trigger, (), lambda _: outputs, keep=(f, buffer, inputs))


def gradient(function):
    """Prepare value and dense gradient of a function of one vector."""
    def prepare(workload):
        x0 = np.ravel(workload.data()[0])
        x = ca.SX.sym("x", len(x0))
        y = function(x)
        f = ca.Function("f", [x], [y, ca.densify(ca.gradient(y, x))])
        return buffered(f, [x0], [np.empty(1), np.empty(len(x0))])

    return prepare


def called(workload):
    """The plain call, with new objects for the results."""
    x = ca.SX.sym("x", 2)
    y = rosenbrock(x)
    return Run(ca.Function("f", [x], [y, ca.gradient(y, x)]), workload.data())


def small_net(workload):
    W1, b1, W2, b2 = symbols = [ca.SX.sym(name, *shape) for name, shape in
                                (("W1", (2, 2)), ("b1", (2,)), ("W2", (2, 2)), ("b2", (2,)))]
    x, y = ca.SX.sym("x", 2), ca.SX.sym("y", 2)

    def sigmoid(z):
        return 1 / (1 + ca.exp(-z))

    loss = ca.sumsqr(sigmoid(W2.T @ sigmoid(W1.T @ x + b1) + b2) - y)     # matrices of its buffers are in Fortran order
    f = ca.Function("f", [*symbols, x, y], [loss, *[ca.gradient(loss, s) for s in symbols]])
    data = workload.data()
    return buffered(f, data, [np.empty(1), *[np.empty_like(x) for x in data[:4]]])


def hessian(workload):
    (x0,) = workload.data()
    x = ca.SX.sym("x", len(x0))
    f = ca.Function("f", [x], [ca.densify(ca.hessian(rosenbrock(x), x)[0])])
    return buffered(f, [x0], [np.empty((len(x0), len(x0)))])


def bundle(workload):
    """The Jacobian of one observation, mapped."""
    data, seen = workload.data()
    q, s = ca.SX.sym("q", 15), ca.SX.sym("s", 2)
    f = ca.Function("f", [q, s], [ca.densify(ca.jacobian(reprojection(q, s), q)).T]).map(len(data))
    return buffered(f, [data, seen], [np.empty((len(data), 2, 15))])


VERSIONS = {"rosenbrock2": called, "rosenbrock2 bound": gradient(rosenbrock), "rosenbrock_loop": gradient(rosenbrock),
            "small_net": small_net, "chain": gradient(lambda p: scalar_chain(p[0], p[1], 1000, ca.sin)),
            "lennard_jones_loop": gradient(lennard_jones), "lennard_jones_arrays": gradient(lennard_jones),
            "lotka_volterra": gradient(lambda p: lotka_volterra(ca.vertsplit(p), 1000)), "bundle": bundle,
            "rosenbrock_hessian": hessian}


def version(workload):
    """Scalars in loops; its matrices are not for the rest."""
    return VERSIONS.get(workload.name, VERSIONS.get(workload.base))
