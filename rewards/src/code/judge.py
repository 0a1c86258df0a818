# The guest of the tests. The submission is not here: a call of one of its functions is looked up among the results that its
# own guest has given, which are plain values. Where a result is not there yet, the call is written down, and the test goes on
# ahead with something that stands for any value, its assertions suspended, to find which further calls it will make.
#
# So a test runs at least twice: to find its calls, and to judge their results; once more for every result that a later call
# depends on.


def _judge(marker, setup, test):
    import ast
    import builtins
    import dis
    import importlib
    import os
    import sys
    import types

    sys.set_int_max_str_digits(0)
    # One result a line.
    results = [eval(line, _makers()) for line in sys.stdin]
    made = []
    ahead = False

    def say(text):
        # At once: what was found is kept even if the test never ends.
        data = ("\n" + marker + " " + text + "\n").encode("utf-8", "surrogatepass")
        while data:
            data = data[os.write(1, data) :]

    class Stop(BaseException):
        """Ends the test without a verdict."""

    def inside(*_):
        # The test does something with the submission that cannot be done from here.
        say("inside")
        raise Stop

    class Later:
        """A result that is not known yet."""

        def __init__(self, made_by=""):
            self.__dict__["made_by"] = made_by

        def __getattr__(self, name):
            if not any(hasattr(kind, name) for kind in plain):
                inside()
            return Later()

        __setattr__ = __delattr__ = inside

        def itself(self, *arguments, **keywords):
            return Later()

        for name in """
            call getitem add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod divmod rdivmod pow rpow and
            rand or ror xor rxor lshift rlshift rshift rrshift matmul rmatmul neg pos abs invert round trunc floor ceil enter
            eq ne lt le gt ge
        """.split():
            locals()["__" + name + "__"] = itself
        del itself, name

        def __bool__(self, *_):
            return True

        __contains__ = __setitem__ = __delitem__ = __bool__

        def __len__(self):
            return 0

        __int__ = __index__ = __hash__ = __len__

        def __iter__(self):
            return iter(())

        def __float__(self):
            return 0.0

        def __exit__(self, *_):
            return False

        def __str__(self):
            return ""

        __repr__ = __format__ = lambda self, *_: ""

    plain = (int, float, complex, str, bytes, list, tuple, set, frozenset, dict, type(iter(())), type((_ for _ in ())))

    def has_later(value):
        if isinstance(value, Later):
            # `area(Square(2))`: an object of the submission's, by the looks of it.
            return inside() if value.made_by[:1].isupper() else True
        if isinstance(value, dict):
            return any(has_later(key) or has_later(item) for key, item in value.items())
        return isinstance(value, (list, tuple, set, frozenset)) and any(map(has_later, value))

    class Foreign:
        """What the submission returned and is no plain value: equal to itself alone."""

        def __init__(self, kind):
            self.kind = kind

        def __repr__(self):
            return "<a value of the type " + self.kind + ">"

    def change(old, new):
        if isinstance(old, dict):
            old.clear()
            old.update(new)
        elif isinstance(old, set):
            old.clear()
            old |= new
        else:
            old[:] = new

    def raised(name, text):
        kind = getattr(builtins, name, Exception)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            kind = Exception
        error = kind.__new__(kind, text)
        error.args = (text,)
        return error

    class Candidate:
        """A function of the submission's."""

        def __init__(self, name):
            self.__dict__["__name__"] = self.__dict__["__qualname__"] = name

        def __call__(self, *arguments, **keywords):
            nonlocal ahead
            if has_later(arguments) or has_later(keywords):
                return Later()
            try:
                text = _literal((self.__name__, arguments, keywords))
            except (_Foreign, RecursionError):
                inside()
            at = len(made)
            made.append(text)
            say("call " + text)
            if at == len(results) or ahead:
                ahead = True
                if at > len(results) + 20_000:
                    raise Stop
                return Later(self.__name__)
            kind, value, changed = results[at]
            if kind == "ended":
                say("ended")
                raise Stop
            if kind == "raised":
                raise raised(*value)
            for old, new in zip(arguments, changed):
                if new is not None:
                    change(old, new)
            return Foreign(value) if kind == "foreign" else value

        __getattr__ = __setattr__ = __delattr__ = inside
        __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = inside
        __rmul__ = __mod__ = __rmod__ = __truediv__ = __getitem__ = __iter__ = __len__ = __contains__ = inside
        __int__ = __float__ = __index__ = __instancecheck__ = __abs__ = __neg__ = __round__ = inside

        def __hash__(self):
            return hash(self.__name__)

    def suspend(tree):
        """Every `assert` so that it only raises where results are known."""

        class Asserts(ast.NodeTransformer):
            def visit_Assert(self, node):
                guard = ast.parse("try:\n pass\nexcept Exception:\n if not __ahead__(): raise").body[0]
                guard.body = [node]
                return ast.copy_location(guard, node)

        return ast.fix_missing_locations(Asserts().visit(tree))

    def asked_by_name(tree, defined, names):
        """The one built-in or imported function that the test itself calls or hands over."""
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        parts = [part for node in calls for part in (node.func, *node.args) if isinstance(part, ast.Name)]
        asked = {part.id for part in parts} - defined - {"__ahead__"}
        asked = {name for name in asked if callable(names.get(name) or getattr(builtins, name, None))}
        return asked if len(asked) == 1 else set()

    def global_names(code):
        """What the code, with all within it, takes from the module's names, and what it adds to them."""
        taken, added = set(), set()
        for part in dis.get_instructions(code):
            if part.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                taken.add(part.argval)
            elif part.opname in ("STORE_NAME", "STORE_GLOBAL"):
                added.add(part.argval)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                more = global_names(constant)
                taken |= more[0]
                added |= more[1]
        return taken, added

    try:
        setup_tree, test_tree = ast.parse(setup, "<setup>"), ast.parse(test, "<assertion>")
    except (SyntaxError, ValueError):
        say("syntax")
        return
    names = {"__name__": "tests", "__ahead__": lambda: ahead}
    if "numpy" in setup or "numpy" in test:
        numpy = _numpy(lambda value: isinstance(value, Later))
        sys.modules.update({"numpy": numpy, "numpy.testing": numpy.testing})
    imports = [node for node in setup_tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), "<setup>", "exec"), names)
    whole = ast.Module([*setup_tree.body, *test_tree.body], [])
    called = {n.func.id for n in ast.walk(whole) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    taken, added = global_names(compile(suspend(whole), "<assertion>", "exec"))
    known = {"Counter": "collections", "OrderedDict": "collections", "defaultdict": "collections", "deque": "collections",
             "Decimal": "decimal", "Fraction": "fractions", "isclose": "math"}  # fmt: skip
    own = set()
    for name in sorted(taken - added - names.keys() - vars(builtins).keys()):
        if name in known:
            names[name] = getattr(importlib.import_module(known[name]), name)
        elif name in sys.stdlib_module_names and name not in called:
            names[name] = importlib.import_module(name)
        else:
            own.add(name)
    names.update({name: Candidate(name) for name in own})
    # A test asks the submission something. `assert gcd(4, 6) in (2,)` means the submission's, whatever the setup imports.
    asked = {} if own else {name: Candidate(name) for name in asked_by_name(test_tree, added - names.keys(), names)}
    setup_body, test_body = whole.body[: len(setup_tree.body)], whole.body[len(setup_tree.body) :]
    try:
        exec(compile(ast.Module(setup_body, []), "<setup>", "exec"), names)
        exec(compile(ast.Module(test_body, []), "<tests>", "exec"), names | asked)
    except Stop:
        return
    except Exception:
        if not ahead:
            raise
    say("ahead" if ahead else "held")
