# Runs in the guest, before anything of the submission. It puts each check to the submission and writes one line for
# each: the marker, then what was found. Values are judged outside; see plan.rs. An exception is left to end the
# program: one failed check fails them all, and the sandbox knows causes better than Python does.
#
# Checks that must run in here ("statement") get what defence there is in one interpreter: they see the built-in names
# as they were before the submission, what the setup imports as it was, and compare nothing but plain values.


def _literal(value):
    """The value as a Python literal; what has none becomes a text that no literal equals."""
    if value is None or value is True or value is False:
        return repr(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, str):
        return str.__repr__(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes.__repr__(bytes(value))
    if isinstance(value, list):
        return "[" + ",".join([_literal(item) for item in list.__iter__(value)]) + "]"
    if isinstance(value, tuple):
        return "(" + "".join([_literal(item) + "," for item in tuple.__iter__(value)]) + ")"
    if isinstance(value, (set, frozenset, type({}.keys()), type({}.items()))):
        return "set([" + ",".join([_literal(item) for item in value]) + "])"
    if isinstance(value, dict):
        return "{" + ",".join([_literal(key) + ":" + _literal(item) for key, item in dict.items(value)]) + "}"
    kind = type(value)
    if (kind.__module__, kind.__name__) in (("fractions", "Fraction"), ("decimal", "Decimal"), ("builtins", "complex")):
        # Equal to a plain number, or to none.
        if kind.__name__ != "complex":
            plain = int(value) if value == value // 1 else float(value)
        else:
            plain = value.real
        if plain == value:
            return repr(plain)
    return "?" + kind.__name__.replace("\n", " ")


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


def _grade(marker, setup, submission, checks):
    import sys
    import types

    literal, evaluate = _literal, eval
    write, flush = sys.stdout.write, sys.stdout.flush
    sys.set_int_max_str_digits(0)

    def say(text):
        # On a line of its own, whatever the submission wrote before.
        write("\n" + marker + " " + text + "\n")

    try:
        setup = compile(setup, "<setup>", "exec", dont_inherit=True)
        compile_statement = run_statement = None
        if any(kind == "statement" for kind, _ in checks):
            compile_statement, run_statement = _statements(setup)
        checks = [
            (kind, compile_statement(text) if kind == "statement" else compile(text, "<assertion>", "eval"))
            for kind, text in checks
        ]
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
    for kind, code in checks:
        if kind == "value":
            say(literal(evaluate(code, names)))
        elif kind == "truth":
            say("True" if evaluate(code, names) else "False")
        else:
            run_statement(code, names)
            say("held")
    flush()
