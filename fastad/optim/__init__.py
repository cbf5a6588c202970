"""Stepwise optimisers for eager loops, with the arguments, formulas and states of ``torch.optim``.

====================  ==================================================================
``optimizer``         `Optimizer`: parameter groups, states; SGD, Adagrad, RMSprop, Adam, AdamW
``lbfgs``             `LBFGS`, which evaluates the function itself
``lr_scheduler``      schedules of the learning rate
====================  ==================================================================

Examples
--------
>>> import numpy as np
>>> import fastad as fa
>>> w = fa.Variable(np.zeros(2))
>>> optimizer = fa.optim.Adam([w], lr=0.1)
>>> for _ in range(300):
...     optimizer.zero_grad()
...     loss = np.sum((w - np.array([1.0, -2.0])) ** 2)
...     loss.backward()
...     optimizer.step()
>>> w.value.round(3)
array([ 1., -2.])
"""
from . import lr_scheduler
from .lbfgs import LBFGS
from .lr_scheduler import CosineAnnealingLR, ExponentialLR, LambdaLR, MultiStepLR, ReduceLROnPlateau, StepLR
from .optimizer import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

__all__ = ["LBFGS", "SGD", "Adagrad", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "LambdaLR", "MultiStepLR",
           "Optimizer", "RMSprop", "ReduceLROnPlateau", "StepLR", "lr_scheduler"]
