/* The guest: the few calls of CPython's C API that run one program and say how it ended.
 *
 * How a program ended is decided here, from the C-level exception type and before any further Python code runs: nothing
 * that the program prints, raises, redefines or monkeypatches can change it. Everything else (compiling the text,
 * writing the traceback) is Python, in prelude.py, compiled once into the snapshot.
 *
 * The functions are those of world.wit as the canonical ABI passes them: strings as address and length. */
#define Py_BUILD_CORE
#include <Python.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_obmalloc.h>
#include <internal/pycore_pystate.h>
#include <unistd.h>
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

/* Objects whose references are still to be followed. */
static struct { PyObject **objects; size_t count, room; } waiting;

/* Makes an object immortal: its count of references does not change any more. */
static int keep(PyObject *object, void *unused)
{
    (void)unused;
    if (object == NULL || _Py_IsImmortal(object)) {
        return 0;
    }
    object->ob_refcnt = _Py_IMMORTAL_REFCNT;
    if (waiting.count == waiting.room) {
        waiting.room = waiting.room ? 2 * waiting.room : 1 << 16;
        waiting.objects = realloc(waiting.objects, waiting.room * sizeof *waiting.objects);
        if (waiting.objects == NULL) {
            __builtin_trap();
        }
    }
    waiting.objects[waiting.count++] = object;
    return 0;
}

static int keep_and_go_on(PyObject *object, void *unused)
{
    keep(object, unused);
    return 1;
}

/* Everything that is there now stays: a program that looks at an object of the snapshot, such as a function of the
 * standard library, then does not write to its page, which would have to be copied before and set back afterwards. */
static void keep_all(void)
{
    PyUnstable_GC_VisitObjects(keep_and_go_on, NULL);
    while (waiting.count > 0) {
        PyObject *object = waiting.objects[--waiting.count];
        if (PyCode_Check(object)) {
            /* The only kind with references worth following that the collector does not look into. */
            PyCodeObject *code = (PyCodeObject *)object;
            keep(code->co_consts, NULL);
            keep(code->co_names, NULL);
            keep(code->co_exceptiontable, NULL);
            keep(code->co_localsplusnames, NULL);
            keep(code->co_localspluskinds, NULL);
            keep(code->co_filename, NULL);
            keep(code->co_name, NULL);
            keep(code->co_qualname, NULL);
            keep(code->co_linetable, NULL);
        } else if (Py_TYPE(object)->tp_traverse != NULL) {
            Py_TYPE(object)->tp_traverse(object, keep, NULL);
        }
    }
    free(waiting.objects);
}

/* Free memory at the end of the heap: what most programs need, so that they need not ask the host for more. */
#define ROOM (4 << 20)

/* What programs allocate from now on lies together at the end of the heap, and not in the gaps of what the snapshot
 * holds: they then write to few pages, most of them the same ones for every program. */
static void start_afresh(void)
{
    PyGC_Collect(); /* empties the lists of free objects */

    /* Python's small objects. Pools with free blocks count as full; a block of theirs that is freed can be used again. */
    struct _obmalloc_state *state = _PyInterpreterState_GET()->obmalloc;
    for (int size = 0; size < NB_SMALL_SIZE_CLASSES; size++) {
        /* The list's head: of a pool, only the two links are there. */
        poolp head = (poolp)((char *)&state->pools.used[2 * size] - offsetof(struct pool_header, nextpool));
        for (poolp pool = head->nextpool; pool != head; pool = pool->nextpool) {
            pool->ref.count = NUMBLOCKS(pool->szidx);
            pool->freeblock = NULL;
            pool->nextoffset = pool->maxnextoffset + 1;
        }
        head->nextpool = head->prevpool = head;
    }
    for (struct arena_object *arena = state->mgmt.usable_arenas; arena != NULL; arena = arena->nextarena) {
        arena->nfreepools = 0;
        arena->freepools = NULL;
    }
    state->mgmt.usable_arenas = NULL;
    memset(state->mgmt.nfp2lasta, 0, sizeof state->mgmt.nfp2lasta);

    /* All else: libc's gaps are taken, the largest first, until what it gives lies behind the old end of the heap. */
    char *end = sbrk(0), *behind;
    do {
        behind = malloc(ROOM);
    } while (behind != NULL && behind + ROOM <= end);
    for (size_t size = ROOM / 2; size >= sizeof(void *); size /= 2) {
        char *block;
        while ((block = malloc(size)) != NULL && block < behind) {
        }
        free(block);
    }
    free(behind);
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
    keep_all();
    start_afresh();
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

/* The last frames of what a traceback lists, outermost first; at most this many are shown. */
#define TRACEBACK_FRAMES 100

/* The end of the exception's traceback, or None. Found here, because a program may recurse a hundred thousand deep. */
static PyObject *last_frames(void)
{
    PyObject *trace = ended_by == Py_None ? NULL : PyException_GetTraceback(ended_by);
    if (trace == NULL) {
        return Py_None;
    }
    PyTracebackObject *last = (PyTracebackObject *)trace, *ahead = last;
    for (int frames = 0; ahead != NULL; ahead = ahead->tb_next, frames++) {
        if (frames >= TRACEBACK_FRAMES) {
            last = last->tb_next;
        }
    }
    Py_DECREF(trace); /* the exception has it still */
    return (PyObject *)last;
}

EXPORT("report") const void *report_end(void)
{
    returned.text = NULL;
    returned.length = 0;
    PyObject *text = PyObject_CallFunctionObjArgs(report, ended_by, last_frames(), NULL);
    if (text != NULL) {
        returned.text = PyUnicode_AsUTF8AndSize(text, &returned.length);
        if (returned.text == NULL) {
            returned.length = 0;
        }
    }
    PyErr_Clear();
    return &returned;
}
