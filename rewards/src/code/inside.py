# Runs in the guest, before anything of the submission, where a test handles what is the submission's own and no plain value: an
# object of its classes, a function that it returned, a name of its that is not called. Such a test cannot be run anywhere else.
#
# It gets what defence there is in one interpreter. The submission is a text of its own, below which there is no frame of ours;
# the test comes with the next text. What runs it was made before the submission and is bound to nothing but the name of an
# error handler, which that next text has. The test sees the built-in names, and what the setup imports, as they were before the
# submission, and compares nothing but plain values. But while the test calls the submission, the submission can climb into the
# test's frames, and who knows this file well finds other ways. No test of HumanEval and MBPP comes here.
#
# An exception is left to end the program: the sandbox knows causes better than Python does.


def _prepare(marker, setup):
    """Makes ready for `"\u00e9 and a statement".encode("ascii", marker)`, which runs the statement after the submission.

    All state is in closures, taken before the submission runs: there is no name to overwrite.
    """
    import abc
    import ast
    import builtins
    import codecs
    import collections
    import datetime
    import decimal
    import enum
    import fractions
    import gc
    import sys
    import types

    sys.set_int_max_str_digits(0)
    write, flush = sys.stdout.write, sys.stdout.flush
    setup = compile(setup, "<setup>", "exec", dont_inherit=True)
    originals = dict(vars(builtins))
    any_of, id_of, is_instance, items_of = any, id, isinstance, dict.items
    name_of = type.__dict__["__name__"].__get__
    containers = (list, tuple, set, frozenset, collections.deque, type({}.keys()))
    own_names = {}
    try:
        exec(setup, own_names)
    except Exception:
        pass  # It may need what the submission defines; then the submission's names serve.
    # What compares as it pleases is not here: the submission's classes, and what stands for another object, as a weak reference
    # does. By their places in memory: a class may say of itself that it equals any other.
    known = (
        bool, int, float, complex, str, bytes, bytearray, range, list, tuple, set, frozenset, dict,
        type(None), type(...), type(NotImplemented), type({}.keys()), type({}.values()), type({}.items()),
        type, abc.ABCMeta, enum.EnumMeta, types.FunctionType, types.BuiltinFunctionType,
        collections.deque, collections.OrderedDict, collections.defaultdict, collections.Counter,
        decimal.Decimal, fractions.Fraction, datetime.date, datetime.time, datetime.datetime, datetime.timedelta,
    )  # fmt: skip
    known = {id(kind) for kind in known}
    loaded = [module for module in list(sys.modules.values()) if isinstance(module, types.ModuleType)]
    used = {name.split(".")[0] for name in setup.co_names} | {"builtins", "ast", "math", "collections"}
    modules = [(vars(module), dict(vars(module))) for module in loaded if module.__name__.split(".")[0] in used]
    identity = (ast.Is, ast.IsNot)

    def plain(value):
        kind = type(value)
        if id_of(kind) not in known:
            raise AssertionError("a comparison with a value of the type " + name_of(kind))
        if is_instance(value, dict):
            for key, item in items_of(value):
                plain(key)
                plain(item)
        elif is_instance(value, containers):
            for item in value:
                plain(item)
        return value

    def guarded(operand):
        return ast.copy_location(ast.Call(ast.Name("__plain__", ast.Load()), [operand], []), operand)

    def compiled(text, compile=compile):
        tree = ast.parse(text, "<assertion>")
        for node in ast.walk(tree):
            # Whether two are one object asks none of them.
            if is_instance(node, ast.Compare) and any_of([not is_instance(one, identity) for one in node.ops]):
                node.left = guarded(node.left)
                node.comparators = [guarded(operand) for operand in node.comparators]
        return compile(ast.fix_missing_locations(tree), "<assertion>", "exec")

    def test(error, dict=dict, exec=exec, len=len):
        text = error.object
        for names, original in modules:
            names.update(original)
        if not ready:
            exec(setup, submission)
        # The setup's functions may call what only the submission defines.
        for name, value in items_of(submission):
            if name not in originals and name not in own_names:
                own_names[name] = value
        names = {name: value for name, value in items_of(submission) if name not in originals}
        names.update(own_names)
        names["__builtins__"] = dict(originals)
        names["__plain__"] = plain
        exec(compiled(text[1:]), names)
        # On a line of its own, whatever the submission wrote before.
        write("\n" + marker + " held\n")
        flush()
        return "", len(text)

    submission = vars(sys.modules["__main__"])
    sys.modules["solution"] = sys.modules["__main__"]
    submission["__name__"] = "solution"
    del submission["_prepare"]
    try:
        exec(setup, submission)
        ready = True
    except Exception:
        ready = False  # It may need what the submission defines.
    codecs.register_error(marker, test)
    # The collector does not list what it is not to look at.
    gc.freeze()
    del gc.unfreeze
