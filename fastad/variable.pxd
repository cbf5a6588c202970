"""Contents of the variable module."""
cimport cython

from fastad._tape cimport Handle, Layout, Tape


@cython.no_gc
cdef class Variable(Handle):
    pass

cdef Variable new_node(Tape tape, Py_ssize_t offset, Py_ssize_t rec, Layout layout)
cdef object apply(int op, object x, object y)
