"""Contents of the code of compiled functions: instructions over a workspace of slots, and what runs them."""
from libc.stdint cimport int32_t, int64_t


cdef struct Region:
    const double *data                # an argument or result where the caller has it
    int64_t start                     # the slot that it would begin at


cdef class Workspace:
    """The memory of one call: the slots, `lanes` numbers each."""
    cdef Region *regions
    cdef double *w                    # begins with a cache line
    cdef void *memory                 # that it is part of
    cdef double *work                 # for operands that are collected from anywhere
    cdef Py_ssize_t lanes
    cdef dict errors                  # what Python functions raised, by lane; None
    cdef bint failing                 # whether there are any


cdef struct Rows:
    double *data                      # one array of a batch: its rows
    const int64_t *slots              # the slot of each element; NULL: in a row from `slot` on
    int64_t slot, size, step          # elements of one row, and how far apart the rows are; 0: all share one


cdef class Evaluator


cdef class Code:
    """Instructions over slots: immutable, so that threads can share it."""
    cdef readonly object instructions, scalars, pool, image    # the tables; the values that the first slots have
    cdef readonly list regions                  # (slot, size) of arguments and results that the caller keeps
    cdef readonly list calls                    # rules of CALL instructions: forward(inputs) -> outputs
    cdef readonly Py_ssize_t n_slots
    cdef readonly object strands                # the scalar instructions as one lane executes them, see _strands.h
    cdef readonly object stops                  # where execution stops for a call or to look at signals, see `stops`
    cdef const void *_instructions              # the data of the arrays above
    cdef const void *_scalars
    cdef const int32_t *_strands
    cdef const int64_t *_pool
    cdef const double *_image
    cdef const int64_t *_stops
    cdef list free                              # workspaces that wait for the next call
    cdef list wide                              # the same of those with several lanes
    cdef Py_ssize_t work                        # how many numbers all instructions compute

    cdef Workspace workspace(self, Py_ssize_t lanes)
    cdef void let_go(self, Workspace space) noexcept
    cdef void give_back(self, Workspace space)
    cdef int execute(self, Workspace space, Evaluator e) except -1
    cdef int run(self, Workspace space, Evaluator e, const unsigned char *cancel) except -1 nogil
    cdef int call(self, Py_ssize_t k, Workspace space, Evaluator e, Py_ssize_t checked) except -1


cdef struct Parts:
    const void *before                # the tables of a window
    const void *within
    const void *after
    const int64_t *steps
    const int64_t *pool
    Py_ssize_t n_before, n_within, n_after, parts, last


cdef class Window:
    """Instructions that are executed part by part instead of one after the other."""
    cdef readonly Py_ssize_t first, last        # what they stand for
    cdef readonly object before, within, after  # instructions: before the parts, of each part, and afterwards
    cdef readonly Py_ssize_t parts
    cdef readonly object steps                  # how far v, a and b of each instruction go on from part to part
    cdef readonly object pool                   # the code's, and what the instructions need beside it


cdef class Evaluator:
    """A program with its arguments and results: loads inputs, executes, checks guards, makes the results."""
    cdef readonly Code code
    cdef readonly list inputs, captures, frozen # as given to __init__
    cdef readonly list placed                   # (shape, slots) of each result; those in a row as Slots
    cdef readonly object guards, expected       # slots that Python acted on, and the values they have to have
    cdef readonly list dims                     # the shape of each input
    cdef public list whole                      # for each input whether it is a whole number; None: no input is
    cdef list capture_dims                      # and of each captured array
    cdef Py_ssize_t n_inputs, n_results
    cdef int64_t *where                         # slot and size of each input, then of each result (slot -1: index list)
    cdef list lists                             # of results: None: slots in a row; or (slot, length) pairs; or slots
    cdef list region_of                         # number of the region of each input, -1 for none
    cdef list result_region                     # the same for results
    cdef bint direct                            # whether one has any
    cdef list capture_region                    # the same for captured arrays
    cdef readonly object stops                  # those of the code, and where guards are looked at or windows begin
    cdef readonly list windows                  # what is executed part by part
    cdef Parts *_windows
    cdef const int64_t *_stops
    cdef const int64_t *_guards
    cdef const double *_expected

    cdef int load(self, Workspace space, object leaves) except -1
    cdef int load_captures(self, Workspace space) except -1
    cdef int load_captures_of_rows(self, Workspace space) except -1
    cdef int run_rows(self, Workspace space, const Rows *inputs, const Rows *outputs, Py_ssize_t first, Py_ssize_t last,
                      unsigned char *holds, const unsigned char *cancel) except -1
    cdef Py_ssize_t failed(self, Workspace space, Py_ssize_t lane) noexcept nogil
    cdef int aim(self, Workspace space, Py_ssize_t k, object out) except -1
    cdef Py_ssize_t failed_among(self, Workspace space, Py_ssize_t lane, Py_ssize_t first,
                                 Py_ssize_t last) noexcept nogil
    cdef int copy_result(self, Workspace space, Py_ssize_t k, double *out) noexcept


cdef class Replay:
    """The short way of a compiled function: plain numbers and arrays in, the program of the last call, results out."""
    cdef public Evaluator quick_value, quick_grad    # None: no program fits the short way
    cdef public bint several                    # whether the gradient is a tuple
    cdef public dict quick_matrices             # kind -> evaluator, pattern of the elements (None: all), shape


cdef class Bound:
    """A program with a workspace and result buffers of its own; for one thread."""
    cdef Evaluator evaluator
    cdef Workspace space
    cdef object slow
    cdef readonly object gradient               # the buffer of the gradient, or a tuple of them
    cdef readonly object function               # the compiled function
    cdef list buffers
    cdef bint quick                             # the program is one of floating-point numbers alone
