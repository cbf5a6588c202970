"""Which inputs results depend on, and how few directions tell a sparse matrix: the loops of `compiled.sparsity`."""
cimport cython
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

import numpy as np

cdef enum:
    NOTHING, EVERYTHING               # the first two sets
    REMEMBERED = 1 << 12              # unions of two sets that are looked up before they are made again


@cython.final
cdef class Sets:
    """Sets of inputs, known by number: 0 is the empty set, 1 that of all inputs.

    A set of more than `most` inputs becomes that of all: patterns may say too much, never too little.

    Parameters
    ----------
    most : int
        How many inputs a set has at most.
    room : int
        How many numbers all sets together have at most.
    """

    cdef int64_t[::1] first           # by set: where its members begin; the end is where those of the next one begin
    cdef int32_t[::1] members         # rising
    cdef int64_t[:, ::1] unions       # pairs of sets, and what they are together
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t most, room

    def __init__(self, Py_ssize_t most, Py_ssize_t room):
        self.first, self.members = np.zeros(64, np.int64), np.empty(256, np.int32)
        self.unions = np.full((REMEMBERED, 3), -1, np.int64)
        self.count, self.most, self.room = 2, most, room

    cdef int64_t begin(self, Py_ssize_t n) except -1:
        """Make room for a set of up to n members; where they go."""
        cdef int64_t at = self.first[self.count]
        if at + n > self.room:
            raise OverflowError("sparsity: the sets take more room than they are worth")
        if at + n > self.members.shape[0]:
            self.members = np.concatenate([np.asarray(self.members), np.empty(at + n, np.int32)])
        if self.count + 2 > self.first.shape[0]:
            self.first = np.concatenate([np.asarray(self.first), np.zeros(self.count + 2, np.int64)])
        return at

    def singles(self, Py_ssize_t n):
        """The sets {0} to {n - 1}; only while there are no others."""
        cdef Py_ssize_t k
        self.members = np.arange(n, dtype=np.int32)
        self.first = np.append([0, 0], np.arange(n + 2))
        self.count = n + 2
        return np.arange(2, n + 2)

    cdef int64_t union(self, int64_t x, int64_t y) except -1:
        """Two sets together."""
        cdef int64_t i, j, at, m, n, start, z
        cdef int64_t *known
        if x == y or y == NOTHING or x == EVERYTHING:
            return x
        if x == NOTHING or y == EVERYTHING:
            return y
        if x > y:
            x, y = y, x
        known = &self.unions[(x * 31 + y) & (REMEMBERED - 1), 0]
        if known[0] == x and known[1] == y:
            return known[2]
        i, m, j, n = self.first[x], self.first[x + 1], self.first[y], self.first[y + 1]
        start = at = self.begin(m - i + n - j)
        while i < m and j < n:
            if self.members[i] < self.members[j]:
                self.members[at] = self.members[i]
                i += 1
            else:
                self.members[at] = self.members[j]
                i += self.members[i] == self.members[j]
                j += 1
            at += 1
        memcpy(&self.members[0] + at, &self.members[0] + i, (m - i) * sizeof(int32_t))
        at += m - i
        memcpy(&self.members[0] + at, &self.members[0] + j, (n - j) * sizeof(int32_t))
        at += n - j
        if at - start > self.most:
            z = EVERYTHING
        elif at - start == m - self.first[x]:
            z = x
        elif at - start == n - self.first[y]:
            z = y
        else:
            z = self.count
            self.count += 1
            self.first[self.count] = at
        known[0], known[1], known[2] = x, y, z
        return z

    def scalars(self, const int64_t[::1] v, const int64_t[::1] a, const int64_t[::1] b, int64_t[::1] of):
        """Scalar records: `of` has the set of each slot."""
        cdef Py_ssize_t i
        for i in range(v.shape[0]):
            of[v[i]] = self.union(of[a[i]], of[b[i]])

    def pairs(self, const int64_t[:] x, const int64_t[:] y):
        """The unions of sets in pairs."""
        cdef Py_ssize_t i
        out = np.empty(x.shape[0], np.int64)
        cdef int64_t[::1] made = out
        for i in range(x.shape[0]):
            made[i] = self.union(x[i], y[i])
        return out

    def added(self, const int64_t[:] out, const int64_t[:] x, int64_t[::1] of):
        """Sums: the set of each slot of `out`, which may occur several times, grows by one of `x`."""
        cdef Py_ssize_t i
        for i in range(out.shape[0]):
            of[out[i]] = self.union(of[out[i]], x[i])

    def rows(self, const int64_t[::1] sets, Py_ssize_t n):
        """The members of sets as rows of a sparse matrix with n columns: (indptr, indices)."""
        cdef Py_ssize_t i
        cdef int64_t at, size
        indptr = np.zeros(sets.shape[0] + 1, np.int64)
        cdef int64_t[::1] ends = indptr
        for i in range(sets.shape[0]):
            size = n if sets[i] == EVERYTHING else self.first[sets[i] + 1] - self.first[sets[i]]
            ends[i + 1] = ends[i] + size
        if ends[sets.shape[0]] > self.room:
            raise OverflowError("sparsity: the pattern takes more room than it is worth")
        indices = np.empty(ends[sets.shape[0]], np.int32)
        cdef int32_t[::1] to = indices
        for i in range(sets.shape[0]):
            if sets[i] == EVERYTHING:
                for at in range(n):
                    to[ends[i] + at] = <int32_t>at
            elif ends[i + 1] > ends[i]:
                memcpy(&to[ends[i]], &self.members[self.first[sets[i]]], (ends[i + 1] - ends[i]) * sizeof(int32_t))
        return indptr, indices


def distinct_rows(const int64_t[::1] order, const int64_t[::1] indptr, const int32_t[::1] indices,
                  const int64_t[::1] col_indptr,
                  const int32_t[::1] col_indices):
    """Colours of the rows of a pattern: rows of one colour have no column in common.

    Greedy, in the given order (GreedyPartialD2Coloring of Gebremedhin, Manne and Pothen 2005). The pattern is given by
    rows and by columns.
    """
    cdef Py_ssize_t k, p, q, c
    cdef int64_t r
    colours, taken = np.full(order.shape[0], -1, np.int32), np.full(order.shape[0] + 1, -1, np.int64)
    cdef int32_t[::1] colour = colours
    cdef int64_t[::1] by = taken                      # which row the colour was last forbidden to
    for k in range(order.shape[0]):
        r = order[k]
        for p in range(indptr[r], indptr[r + 1]):
            for q in range(col_indptr[indices[p]], col_indptr[indices[p] + 1]):
                if colour[col_indices[q]] >= 0:
                    by[colour[col_indices[q]]] = r
        c = 0
        while by[c] == r:
            c += 1
        colour[r] = <int32_t>c
    return colours


def star_colours(const int64_t[::1] order, const int64_t[::1] indptr, const int32_t[::1] indices):
    """A star colouring of a symmetric pattern's graph: neighbours differ, and so do two colours on every path of four.

    Then each element of the symmetric matrix stands alone in the sum of the rows of one colour, its own or that of its
    mirror image. Greedy, in the given order (Algorithm 4.1 of Gebremedhin, Manne and Pothen 2005).
    """
    cdef Py_ssize_t k, p, q, s, c
    cdef int64_t v
    cdef int32_t w, x, y
    colours, taken = np.full(order.shape[0], -1, np.int32), np.full(order.shape[0] + 1, -1, np.int64)
    cdef int32_t[::1] colour = colours
    cdef int64_t[::1] by = taken
    for k in range(order.shape[0]):
        v = order[k]
        for p in range(indptr[v], indptr[v + 1]):
            w = indices[p]
            if w == v:
                continue
            if colour[w] >= 0:
                by[colour[w]] = v
            for q in range(indptr[w], indptr[w + 1]):
                x = indices[q]
                if x == w or x == v or colour[x] < 0 or by[colour[x]] == v:
                    continue
                if colour[w] < 0:
                    by[colour[x]] = v
                    continue
                for s in range(indptr[x], indptr[x + 1]):
                    y = indices[s]
                    if y != w and y != x and colour[y] == colour[w]:
                        by[colour[x]] = v
                        break
        c = 0
        while by[c] == v:
            c += 1
        colour[v] = <int32_t>c
    return colours
