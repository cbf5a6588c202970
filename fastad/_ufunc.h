/* The loops of a ufunc object. */
#ifndef FASTAD_UFUNC_H
#define FASTAD_UFUNC_H
#define NO_IMPORT_UFUNC
#include <Python.h>
#include <numpy/ndarraytypes.h>
#include <numpy/ufuncobject.h>

/* The k-th loop, in the order of the attribute `types`. */
static inline void fa_get_loop(PyObject *ufunc, Py_ssize_t k, fa_ufunc *loop) {
    const PyUFuncObject *u = (const PyUFuncObject *)ufunc;
    loop->call = (fa_loop)u->functions[k];
    loop->data = (void *)u->data[k];
}
#endif
