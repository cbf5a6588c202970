"""Contents of the variable module."""
cimport cython

from fastad._tape cimport Handle, Layout, Tape


@cython.no_gc
cdef class Variable(Handle):
    pass

cdef int observers                    # how many tapes are observed, in all threads

cdef Variable new_node(Tape tape, Py_ssize_t offset, Py_ssize_t rec, Layout layout)
cdef object apply(int op, object x, object y)


cdef class Trace:
    cdef readonly Tape tape
    cdef readonly list inputs         # (slot, shape, kind) of each input
    cdef readonly list captures       # (array, slot, size): its content when the program is called is what counts
    cdef readonly list frozen         # (array, private copy): a replay is valid only while they are equal
    cdef list seen                    # guards: (record, slot, float or array)
    cdef dict known                   # captured array -> its Discrete
    cdef set held                     # what is frozen already, or need not be:
    cdef list owned                   # arrays that nobody else has
    cdef readonly bint has_leaves     # whether a leaf from outside is among the captures: its gradient has no way out
    cdef Tape outer                   # the thread's tape before


@cython.no_gc
cdef class Discrete(Variable):
    cdef object kind                  # dtype of the values
