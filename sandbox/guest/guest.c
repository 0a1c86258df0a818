/* The guest: the few calls of CPython's C API that run one program and say how it ended.
 *
 * How a program ended is decided here, from the C-level exception type and before any further Python code runs: nothing
 * that the program prints, raises, redefines or monkeypatches can change it. Everything else (compiling the text,
 * writing the traceback) is Python, in prelude.py, compiled once into the snapshot.
 *
 * The functions are those of world.wit as the canonical ABI passes them: strings as address and length. */
#include <Python.h>
#include <wasi/libc.h>

#define EXPORT(name) __attribute__((export_name(name)))

__attribute__((import_module("wasi_snapshot_preview1"), import_name("reset_adapter_state")))
void reset_adapter_state(void);
/* In libc: forgets which folders are open. */
void __wasilibc_reset_preopens(void);

/* As src/python.rs reads them. */
enum cause { OK, ASSERTION_FAILED, SYNTAX_ERROR, EXCEPTION, EXIT, OUT_OF_MEMORY };

/* Of the prelude, and never freed. */
static PyObject *compile_program, *report, *main_dictionary;
/* The exception that ended the program, or None. */
static PyObject *ended_by;
static struct { const char *text; Py_ssize_t length; } returned;

/* How the host makes room for the strings that it passes. */
EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size)
{
    (void)old_size;
    (void)align;
    void *new = realloc(old, size);
    if (new == NULL && size != 0) {
        __builtin_trap();
    }
    return new;
}

EXPORT("prepare") int prepare(char *text, size_t length)
{
    text = realloc(text, length + 1); /* PyRun wants a terminating zero. */
    text[length] = 0;
    Py_InitializeEx(0); /* no signal handlers */
    PyObject *dictionary = PyDict_New();
    if (PyRun_String(text, Py_file_input, dictionary, dictionary) == NULL) {
        PyErr_Print();
        return 0;
    }
    compile_program = PyDict_GetItemString(dictionary, "compile_program");
    report = PyDict_GetItemString(dictionary, "report");
    main_dictionary = PyModule_GetDict(PyImport_AddModule("__main__"));
    ended_by = Py_None;
    return 1;
}

EXPORT("seal") void seal(void)
{
    __wasilibc_reset_preopens();
    reset_adapter_state();
}

EXPORT("run") int run(const char *text, size_t length)
{
    ended_by = Py_None;
    PyObject *source = PyUnicode_FromStringAndSize(text, (Py_ssize_t)length);
    if (source != NULL) {
        PyObject *code = PyObject_CallOneArg(compile_program, source);
        if (code != NULL) {
            if (PyEval_EvalCode(code, main_dictionary, main_dictionary) != NULL) {
                return OK;
            }
        } else if (PyErr_ExceptionMatches(PyExc_SyntaxError)) {
            /* Only here, before the program's first line, does it mean that the program is not Python. */
            ended_by = PyErr_GetRaisedException();
            return SYNTAX_ERROR;
        }
    }
    enum cause cause = EXCEPTION;
    if (PyErr_ExceptionMatches(PyExc_AssertionError)) {
        cause = ASSERTION_FAILED;
    } else if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
        cause = EXIT;
    } else if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        cause = OUT_OF_MEMORY;
    }
    ended_by = PyErr_GetRaisedException();
    return cause;
}

EXPORT("report") const void *report_end(void)
{
    returned.text = NULL;
    returned.length = 0;
    PyObject *text = PyObject_CallOneArg(report, ended_by);
    if (text != NULL) {
        returned.text = PyUnicode_AsUTF8AndSize(text, &returned.length);
        if (returned.text == NULL) {
            returned.length = 0;
        }
    }
    PyErr_Clear();
    return &returned;
}
