"""Gradient descent without Python: the update rules."""
from libc.math cimport INFINITY, fabs, pow, sqrt
from libc.string cimport memcpy
from numpy cimport (
    NPY_DOUBLE, PyArray_DATA, PyArray_ISCARRAY_RO, PyArray_ISWRITEABLE, PyArray_SIZE, PyArray_TYPE, import_array, ndarray,
)

import numpy as np

import_array()

include "_rules.pxi"
