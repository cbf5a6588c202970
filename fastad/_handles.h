/* Recycling of handle objects: a scalar operation makes one and drops one, so that it is worth a free list. */
#ifndef FASTAD_HANDLES_H
#define FASTAD_HANDLES_H
#include <Python.h>
#include <string.h>

#define FA_FREE_HANDLES 512

/* A dead handle brought back to life, as a new reference. */
static inline PyObject *fa_revive(PyObject *o, PyTypeObject *type) { return PyObject_Init(o, type); }

/* A new handle that looks like another one and has no header for the garbage collector; references are the caller's. */
static inline PyObject *fa_copy_handle(PyObject *blank, PyTypeObject *type) {
    PyObject *o = (PyObject *)PyObject_Malloc(type->tp_basicsize);
    if (o == NULL) return NULL;
    memcpy((char *)o + sizeof(PyObject), (char *)blank + sizeof(PyObject), type->tp_basicsize - sizeof(PyObject));
    return PyObject_Init(o, type);
}

static inline Py_ssize_t fa_references(PyObject *o) { return Py_REFCNT(o); }

/* What is being raised while an object dies, put aside: what follows may call Python. */
typedef struct { PyObject *type, *value, *trace; } fa_error;

static inline void fa_put_aside(fa_error *e) {
#if PY_VERSION_HEX >= 0x030C0000
    e->value = PyErr_GetRaisedException();
#else
    PyErr_Fetch(&e->type, &e->value, &e->trace);
#endif
}

static inline void fa_raise_again(fa_error *e) {
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(e->value);
#else
    PyErr_Restore(e->type, e->value, e->trace);
#endif
}

/* May this dying object be kept? Exactly of the type, and nobody watches it die. */
static inline int fa_recyclable(PyObject *o, PyTypeObject *type) {
#if defined(Py_GIL_DISABLED) || defined(PYPY_VERSION)
    (void)o; (void)type;
    return 0;
#else
    return Py_TYPE(o) == type && !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)
           && *(PyObject **)((char *)o + type->tp_weaklistoffset) == NULL;
#endif
}
#endif
