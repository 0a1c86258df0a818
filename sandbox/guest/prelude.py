"""Runs once, in the interpreter whose memory becomes the snapshot; every program then starts from its end.

It imports what programs usually import, takes the rest of the standard library into memory, cuts the interpreter
off from files and environment, and leaves two functions for guest.c: `compile_program` and `report`.
"""

# A copy: whatever a program does to `builtins`, the functions below keep theirs.
__builtins__ = dict(vars(__import__("builtins")))

import atexit
import gc
import importlib
import importlib.machinery
import io
import linecache
import marshal
import os
import sys
import threading
import time
import traceback
import types
import warnings

PROGRAM = "<program>"
DETAIL_CHARACTERS = 500
TRACEBACK_CHARACTERS = 32_768
TRACEBACK_FRAMES = 100
INPUT_BYTES = 16 << 20

# What reference solutions import, and what those modules import lazily at their first use.
PRELOADED = """
    abc argparse array ast base64 binascii bisect builtins calendar cmath cmath codecs collections collections.abc
    contextlib contextvars copy csv dataclasses datetime decimal difflib enum fractions functools graphlib hashlib
    heapq html inspect io itertools json keyword locale logging math numbers operator os os.path pathlib pickle
    platform pprint queue random re reprlib secrets shutil signal statistics string struct subprocess tempfile textwrap
    threading time timeit tokenize traceback types typing unicodedata unittest urllib.parse uuid warnings weakref zlib
    _strptime encodings.idna encodings.latin_1 encodings.ascii encodings.utf_16 encodings.utf_8_sig
""".split()


class Library:
    """Finder and loader of the standard library from `modules`: name -> (is a package, marshalled code)."""

    modules = {}

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in cls.modules:
            return None
        return importlib.machinery.ModuleSpec(name, cls, origin="stdlib", is_package=cls.modules[name][0])

    @staticmethod
    def create_module(spec):
        return None

    @classmethod
    def get_code(cls, name):
        return marshal.loads(cls.modules[name][1])

    @classmethod
    def exec_module(cls, module):
        exec(cls.get_code(module.__spec__.name), module.__dict__)

    @classmethod
    def is_package(cls, name):
        return cls.modules[name][0]


def take_library(folder, package=""):
    """Compiles every module under `folder` into `Library.modules`."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            if os.path.exists(f"{entry.path}/__init__.py"):
                take_library(entry.path, f"{package}{entry.name}.")
        elif entry.name.endswith(".py"):
            stem = entry.name.removesuffix(".py")
            is_package = stem == "__init__"
            name = package.removesuffix(".") if is_package else package + stem
            with open(entry.path, "rb") as file:
                take_module(name, is_package, file.read())


def take_packages(folder):
    """What else is to be importable: folders and wheels, the first found first, the standard library before all of
    them, as in a `sys.path`. Gives the modules to preload.
    """
    if not os.path.exists(folder):
        return []
    library = Library.modules
    for name in sorted(os.listdir(folder), key=lambda name: (len(name.partition(".")[0]), name)):
        Library.modules = {}
        if os.path.isdir(f"{folder}/{name}"):
            take_library(f"{folder}/{name}")
        elif name.endswith(".whl"):
            take_wheel(f"{folder}/{name}")
        library = Library.modules | library
    Library.modules = library
    try:
        with open(f"{folder}/preload.txt") as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def take_wheel(path):
    import zipfile

    with zipfile.ZipFile(path) as wheel:
        for entry in wheel.namelist():
            if entry.endswith(".py"):
                name = entry.removesuffix(".py").replace("/", ".")
                take_module(name.removesuffix(".__init__"), name.endswith(".__init__"), wheel.read(entry))


def take_module(name, is_package, source):
    try:
        code = compile(source, f"<stdlib>/{name}", "exec", dont_inherit=True)
    except SyntaxError:
        return  # a template, or for another Python
    Library.modules[name] = (is_package, marshal.dumps(code))


def start_thread(thread):
    """There are no threads; one that is started runs to its end at once, in its starter. `Thread.start` from now on."""
    if not thread._initialized:
        raise RuntimeError("thread.__init__() not called")
    if thread._started.is_set():
        raise RuntimeError("threads can only be started once")
    thread._started.set()
    try:
        thread.run()
    except SystemExit:
        pass
    except Exception:
        threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), thread]))


def join_thread(thread, timeout=None):
    if not thread._started.is_set():
        raise RuntimeError("cannot join thread before it is started")


def wait_for_nobody(condition, timeout=None):
    """`Condition.wait`, and so all that waits in `threading` and `queue`: nobody is left who could notify."""
    if not condition._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    if timeout is None:
        raise RuntimeError("waits for another thread, and there is none")
    time.sleep(max(timeout, 0))
    return False


def stat_of(fd, stat=os.fstat):
    """`os.fstat` from now on. Standard input has no size here, as little as a pipe has; programs read it by its size all the
    same, and are told one that no input exceeds.
    """
    result = stat(fd)
    return os.stat_result([*result[:6], INPUT_BYTES, *result[7:]]) if fd == 0 else result


def prepare():
    """Everything that the snapshot shall hold already."""
    folder = sys.path[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        take_library(folder)
        preloaded = take_packages(f"{folder}/-packages")
    for name in PRELOADED:
        importlib.import_module(name)
    threading.Thread.start = start_thread
    threading.Thread.join = join_thread
    threading.Thread.is_alive = lambda thread: False
    threading.Condition.wait = wait_for_nobody
    os.fstat = stat_of
    cut_off()
    for name in preloaded:
        importlib.import_module(name)
    finish()


def cut_off():
    """No files and no environment from here on."""
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, Library]
    sys.argv[:] = ["program"]
    os.environ.clear()


def finish():
    """What programs shall find as in an interpreter that has just started."""
    # What the modules above registered has nothing to do here.
    atexit._clear()
    # A trace function may set f_lineno, and so make the program's own frame jump over its assertions.
    del sys.settrace, sys._settraceallthreads
    main = types.ModuleType("__main__")
    sys.modules["__main__"].__dict__.clear()
    sys.modules["__main__"].__dict__.update(main.__dict__, __builtins__=sys.modules["builtins"])
    # `random` was seeded from the host's fixed bytes; said again here so that it does not hang on import order.
    sys.modules["random"].seed(0)
    # Warm what the first use fills in: the regular-expression and traceback machinery, the parser's tables.
    error = compile_and_fail()
    report_of(error, error.__traceback__)
    linecache.clearcache()
    gc.collect()
    # Programs then neither scan nor touch (and so copy) the pages of what is here already.
    gc.freeze()


def compile_program(source, lines=linecache.cache):
    """The code of the program; its lines are kept for tracebacks. A file may begin with a byte-order mark.

    In the dictionary that is there now: one of a program's own might change the text of the next.
    """
    source = source.removeprefix("\ufeff")
    lines[PROGRAM] = (len(source), None, source.splitlines(True), PROGRAM)
    return compile(source, PROGRAM, "exec", dont_inherit=True)


def compile_and_fail():
    try:
        exec(compile_program("def function():\n    return 1 / 0\nfunction()"), {})
    except ZeroDivisionError as error:
        return error


def last_line(error):
    """What a traceback ends with, on one line: `ZeroDivisionError: division by zero`."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:
        text = "<exception str() failed>"
    lines = text.strip().splitlines()
    line = f"{name}: {lines[0]}" if lines else name
    return line[:DETAIL_CHARACTERS].encode("utf-8", "replace").decode()


def report_of(error, frames):
    """The traceback, of which `frames` is the end, and its last line."""
    detail = last_line(error)
    if frames is not None and frames.tb_frame.f_code is compile_program.__code__:
        frames = None  # the text did not compile: ours are the only frames
    try:
        text = "".join(traceback.format_exception(type(error), error, frames, limit=-TRACEBACK_FRAMES))
    except BaseException:
        text = detail + "\n"
    if len(text) > TRACEBACK_CHARACTERS:
        text = text[: TRACEBACK_CHARACTERS // 2] + "\n...\n" + text[-TRACEBACK_CHARACTERS // 2 :]
    return text, detail


def let_go(
    error, set_traceback=BaseException.__traceback__.__set__, set_context=BaseException.__context__.__set__,
    context_of=BaseException.__context__.__get__,
):
    """Frees the frames of an exception that is over, and what they hold: the instance may have more tests to run, and
    guest.c keeps the exception. By the built-in class itself, since a class derived from it may do anything.
    """
    for _ in range(TRACEBACK_FRAMES):
        if error is None:
            break
        context = context_of(error)
        set_traceback(error, None)
        set_context(error, None)
        error = context


def report(
    error, frames, write=os.write, streams=(sys.stdout, sys.stderr), at_exit=atexit._run_exitfuncs,
    collects=gc.isenabled, collect=gc.enable, do_not_collect=gc.disable,
):
    """Flushes what the program printed, writes its traceback, returns the traceback's last line.

    A program that came to its end, or ended itself, does first what it registered with `atexit`.
    """
    if error is None or issubclass(type(error), SystemExit):
        try:
            at_exit()
        except BaseException:
            pass
    for stream in (*streams, sys.__dict__.get("stdout"), sys.__dict__.get("stderr")):
        try:
            stream.flush()
        except BaseException:
            pass
    if error is None:
        return ""
    detail = type(error).__name__
    # Collecting garbage would look at all that the program has left, for the fuel that is meant for the report.
    collected = collects()
    do_not_collect()
    try:
        text, detail = report_of(error, frames)
        data = text.encode("utf-8", "replace")
        while data:
            data = data[write(2, data) :]
    except BaseException:
        pass
    if collected:
        collect()
    let_go(error)
    return detail


prepare()
