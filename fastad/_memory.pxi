# Large blocks of memory (part of _program.pyx and variable.pyx).

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    /* Ask for large pages, as NumPy does for large arrays: there are fewer to be got, and to be found again. */
    static void fa_large_pages(void *p, size_t n) {
        const uintptr_t page = 4096, last = ((uintptr_t)p + n) / page * page;
        const uintptr_t first = ((uintptr_t)p + page - 1) / page * page;
        if (last > first) (void)madvise((void *)first, last - first, MADV_HUGEPAGE);
    }
    #else
    static void fa_large_pages(void *p, size_t n) { (void)p; (void)n; }
    #endif
    """
    void fa_large_pages(void *p, size_t n) noexcept nogil

cdef enum:
    HUGE = 1 << 22                    # bytes from which large pages pay
