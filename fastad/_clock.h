/* Seconds on a clock that never goes back, readable without the GIL. (Python has one for that from 3.13 on.) */
#ifndef FASTAD_CLOCK_H
#define FASTAD_CLOCK_H
#ifdef _WIN32
#include <windows.h>
static double fa_clock(void) {
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return (double)now.QuadPart / (double)frequency.QuadPart;
}
#else
#include <time.h>
static double fa_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
#endif
#endif
