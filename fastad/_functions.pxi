# fa.sin and its kin: C functions bound to an opcode (part of variable.pyx).

cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        const char *ml_name
        void *ml_meth
        int ml_flags
        const char *ml_doc
    object PyCFunction_NewEx(PyMethodDef *ml, object self, object module)
    int METH_O, METH_FASTCALL

cdef PyMethodDef method_defs[256]
_texts = []                           # keeps the names and docstrings of the C functions alive


cdef class OpCode:
    """What a function made by `make_function` is bound to."""
    cdef int op


cdef object call_unary(object self, object x):
    return unary((<OpCode>self).op, x)


cdef object call_binary(object self, PyObject **args, Py_ssize_t n):
    if n != 2:
        raise TypeError(f"{fa_rows[(<OpCode>self).op].name.decode()}: takes 2 arguments, {n} were given")
    return operator_call((<OpCode>self).op, <object>args[0], <object>args[1])


def make_function(int code, str doc):
    """The function ``fastad.<name>`` of a row: a C function bound to its opcode."""
    cdef OpCode self = OpCode.__new__(OpCode)
    cdef PyMethodDef *d = &method_defs[code]
    self.op = code
    name, text = fa_rows[code].name, doc.encode()
    _texts.append((name, text))
    d.ml_name = name
    d.ml_doc = text
    if fa_rows[code].arity == 1:
        d.ml_meth, d.ml_flags = <void *>call_unary, METH_O
    else:
        d.ml_meth, d.ml_flags = <void *>call_binary, METH_FASTCALL
    return PyCFunction_NewEx(d, self, "fastad.math")
