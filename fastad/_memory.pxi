# The memory of workspaces (part of _program.pyx).

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    /* Ask for large pages, as NumPy does for large arrays: a workspace of many arrays misses fewer entries of the page table. */
    static void fa_large_pages(void *p, size_t n) {
        const uintptr_t page = 4096, first = ((uintptr_t)p + page - 1) / page * page, last = ((uintptr_t)p + n) / page * page;
        if (last > first) (void)madvise((void *)first, last - first, MADV_HUGEPAGE);
    }
    #else
    static void fa_large_pages(void *p, size_t n) { (void)p; (void)n; }
    #endif
    """
    void fa_large_pages(void *p, size_t n) noexcept nogil
