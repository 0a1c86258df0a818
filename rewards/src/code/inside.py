# Runs in the guest, before anything of the submission, where a test handles what is the submission's own and no plain value: an
# object of its classes, a function that it returned, a name of its that is not called. Such a test cannot be run anywhere else.
# It gets what defence there is in one interpreter: it sees the built-in names as they were before the submission, what the setup
# imports as it was, and compares nothing but plain values. A submission that climbs into this frame can still have its way; no
# test of HumanEval and MBPP comes here.
#
# An exception is left to end the program: the sandbox knows causes better than Python does.


def _statements(setup):
    """Two functions: one compiles a whole statement, one runs it, as safely as the submission's interpreter can.

    All state is in closures, taken before the submission runs: there is no name to overwrite.
    """
    import ast
    import builtins
    import sys
    import types

    originals = dict(vars(builtins))
    any_of, is_instance, items_of, name_of = any, isinstance, dict.items, type.__dict__["__name__"].__get__
    containers = (list, tuple, set, frozenset, type({}.keys()))
    own_names = {}
    try:
        exec(setup, own_names)
    except Exception:
        pass  # It may need what the submission defines; then the submission's names serve.
    loaded = [module for module in list(sys.modules.values()) if isinstance(module, types.ModuleType)]
    # Classes made later are the submission's, and may compare as they please.
    known = {value for module in loaded for value in list(vars(module).values()) if isinstance(value, type)}
    known |= {type(None), type({}.keys()), type({}.values()), type({}.items()), types.FunctionType}
    used = {name.split(".")[0] for name in setup.co_names} | {"math", "collections"}
    modules = [(vars(module), dict(vars(module))) for module in loaded if module.__name__.split(".")[0] in used]

    def plain(value):
        kind = type(value)
        if kind not in known:
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

    def compile_statement(text):
        tree = ast.parse(text, "<assertion>")
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                node.left = guarded(node.left)
                node.comparators = [guarded(operand) for operand in node.comparators]
        return compile(ast.fix_missing_locations(tree), "<assertion>", "exec")

    def run(code, submission, dict=dict, exec=exec):
        for names, original in modules:
            names.update(original)
        # The setup's functions may call what only the submission defines.
        for name, value in items_of(submission):
            if name not in originals and name not in own_names:
                own_names[name] = value
        names = {name: value for name, value in items_of(submission) if name not in originals}
        names.update(own_names)
        names["__builtins__"] = dict(originals)
        names["__plain__"] = plain
        exec(code, names)

    return compile_statement, run


def _grade(marker, setup, submission, statement):
    import sys
    import types

    write, flush = sys.stdout.write, sys.stdout.flush
    sys.set_int_max_str_digits(0)

    def say(text):
        # On a line of its own, whatever the submission wrote before.
        write("\n" + marker + " " + text + "\n")

    try:
        setup = compile(setup, "<setup>", "exec", dont_inherit=True)
        compile_statement, run_statement = _statements(setup)
        statement = compile_statement(statement)
    except (SyntaxError, ValueError):
        return say("reference")
    try:
        submission = compile(submission, "<solution>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return say("syntax")

    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    names = vars(module)
    try:
        exec(setup, names)
        ready = True
    except Exception:
        ready = False  # It may need what the submission defines.
    exec(submission, names)
    if not ready:
        exec(setup, names)
    run_statement(statement, names)
    say("held")
    flush()
