# The guest of the tests. The submission is not here: a call of one of its functions is looked up among the results that its
# own guest has given, which are plain values. Where a result is not there yet, the call is written down, and the test goes on
# ahead with something that stands for any value, its assertions suspended, to find which further calls it will make.
#
# So a test runs at least twice: to find its calls, and to judge their results; once more for every result that a later call
# depends on.
#
# What a call changes in its arguments is changed here once the statement is over that led to it, or the operand of an `and` or
# `or`: in `assert f(xs) == sorted(xs)` the right side is worked out of `xs` as it was.


def _judge(marker, setup, test):
    import ast
    import builtins
    import dis
    import importlib
    import os
    import re
    import sys
    import types

    sys.set_int_max_str_digits(0)
    # One result a line.
    results = [eval(line, _makers()) for line in sys.stdin]
    made = []
    # What calls have changed and is not changed here yet: the frames that led to the call, the argument, its new value.
    changes = []
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

    def is_class(name):
        # Of the submission's, by the looks of it: called by a name of its own, which is written as those of classes are.
        return name[:1].isupper() and "_" not in name and name in called

    class Later:
        """A result that is not known yet."""

        def __init__(self, made_by=""):
            # Of what was called, where it is the result itself and nothing that was worked out of it.
            self.__dict__["made_by"] = made_by

        def __getattr__(self, name):
            if not any(hasattr(kind, name) for kind in plain):
                inside()
            return Later()

        __setattr__ = __delattr__ = inside

        def itself(self, *arguments, **keywords):
            return Later()

        def computed(self, *_):
            # Objects of a class that can be added and the like add up to one of the same class.
            return Later(self.made_by if is_class(self.made_by) else "")

        def compared(self, other):
            if is_class(self.made_by) and isinstance(other, Later) and is_class(other.made_by):
                say("objects")
                raise Stop
            return Later()

        for name in "getitem round trunc floor ceil lt le gt ge".split():
            locals()["__" + name + "__"] = itself
        for name in """
            add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod divmod rdivmod pow rpow and rand or ror xor
            rxor lshift rlshift rshift rrshift matmul rmatmul neg pos abs invert
        """.split():
            locals()["__" + name + "__"] = computed
        __eq__ = __ne__ = compared
        del itself, computed, compared, name

        def __call__(self, *arguments, **keywords):
            # `adder(3)(4)`, and `with opened() as file`: no plain value can do that.
            return inside() if self.made_by else Later()

        __enter__ = __call__

        def __bool__(self, *_):
            return True

        __contains__ = __setitem__ = __delitem__ = __bool__

        def __len__(self):
            return 0

        __int__ = __index__ = __len__

        def __hash__(self):
            # So that objects are not compared to tell them apart.
            return id(self) if is_class(self.made_by) else 0

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

    class Object(Foreign):
        """One that a class of the submission's made. What can be done with it can be done beside the submission alone."""

        def beside(self, *_, **__):
            say("beside")
            raise Stop

        for name in """
            bool str repr format bytes hash len iter next reversed getitem setitem delitem call enter int float complex index
            getattr add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod divmod rdivmod pow rpow and rand or
            ror xor rxor lshift rlshift rshift rrshift matmul rmatmul neg pos abs invert round trunc floor ceil
        """.split():
            locals()["__" + name + "__"] = beside
        del beside, name

    def change(old, new):
        if isinstance(old, dict):
            old.clear()
            old.update(new)
        elif isinstance(old, set):
            old.clear()
            old |= new
        else:
            old[:] = new

    def filled(value, given):
        """The value, with the test's own lists where the submission had those that it was given."""
        if isinstance(value, _Argument):
            return given[value.at]
        if isinstance(value, (list, tuple)):
            return type(value)([filled(item, given) for item in value])
        return {key: filled(item, given) for key, item in value.items()} if isinstance(value, dict) else value

    def change_where(over):
        left = []
        for frames, old, new in changes:
            if over(frames, old):
                change(old, new)
            else:
                left.append((frames, old, new))
        changes[:] = left

    def settle():
        """A statement begins, and what led to calls in the same frame is over. In the frame of a function that the same
        statement called later (`f(xs) == reference(xs)`) it is not."""
        frame = sys._getframe(1)
        change_where(lambda frames, _: frame in frames)

    def frames_above():
        frames, frame = set(), sys._getframe(2)
        while frame:
            frames.add(frame)
            frame = frame.f_back
        return frames

    words = set(re.findall(r"\w+", setup + "\n" + test))

    def class_of(kinds):
        """The first of an exception's classes that is here too: a built-in one, one of the setup's, or one of the library's that
        the tests name. Of others, such as unittest's `SkipTest`, they know nothing."""
        for module, name in kinds:
            if module == "solution":
                kind = names.get(name)
            elif module == "builtins" or name in words:
                kind = getattr(sys.modules.get(module), name, None)
            else:
                continue
            if isinstance(kind, type) and issubclass(kind, Exception):
                return kind
        return Exception

    def raised(kinds, made_of, attributes, text):
        kind = class_of(kinds)
        if issubclass(kind, StopIteration) and "StopIteration" not in setup + test:
            # It would end the `map` of `all(map(holds, cases))`, as if there were no further case.
            kind = RuntimeError
        error = kind.__new__(kind, *made_of)
        try:
            # Not by its own `__init__`, which may make something else of it: that has been done.
            built_in = next(kind for kind in kind.__mro__ if kind.__module__ == "builtins")
            built_in.__init__(error, *made_of)
        except Exception:
            pass
        error.args = made_of
        vars(error).update(attributes)
        try:
            same = str(error) == text
        except Exception:
            same = False
        if not same:
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
                # `[pop(xs) for _ in range(3)]`
                again = {id(one) for one in _containers([*arguments, *keywords.values()])}
                change_where(lambda _, old: id(old) in again)
                given = _containers([*arguments, *keywords.values()])
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
            changed = zip(given, filled(changed, given))
            changes.extend((frames_above(), old, new) for old, new in changed if new is not None)
            if kind == "raised":
                raise raised(*value)
            if kind == "foreign":
                return Object(value) if is_class(self.__name__) else Foreign(value)
            return filled(value, given)

        __getattr__ = __setattr__ = __delattr__ = inside
        __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = inside
        __rmul__ = __mod__ = __rmod__ = __truediv__ = __getitem__ = __iter__ = __len__ = __contains__ = inside
        __int__ = __float__ = __index__ = __instancecheck__ = __abs__ = __neg__ = __round__ = inside

        def __hash__(self):
            return hash(self.__name__)

    class Arrange(ast.NodeTransformer):
        """Every `assert` so that it only raises where results are known; and what is changed in between."""

        # `if __changes__: __settle__()`, and within an expression `__changes__ and __settle__() or ...`.
        changes = ast.Name("__changes__", ast.Load())
        settled = ast.Call(ast.Name("__settle__", ast.Load()), [], [])
        unmarked = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)

        def visit(self, node):
            arranged = super().visit(node)
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not isinstance(node, ast.stmt) or isinstance(node, self.unmarked) or is_text:
                return arranged
            return [ast.copy_location(ast.If(self.changes, [ast.Expr(self.settled)], []), node), arranged]

        def visit_Assert(self, node):
            self.generic_visit(node)
            guard = ast.parse("try:\n pass\nexcept Exception:\n if not __ahead__(): raise").body[0]
            guard.body = [node]
            return ast.copy_location(guard, node)

        def visit_BoolOp(self, node):
            self.generic_visit(node)
            for at, value in enumerate(node.values[1:], 1):
                settled = ast.BoolOp(ast.And(), [self.changes, self.settled])
                node.values[at] = ast.copy_location(ast.BoolOp(ast.Or(), [settled, value]), value)
            return node

    def asked_by_name(tree, defined, names):
        """The one built-in or imported function that the test itself calls or hands over."""
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        parts = [part for node in calls for part in (node.func, *node.args) if isinstance(part, ast.Name)]
        asked = {part.id for part in parts} - defined - {"__ahead__", "__settle__"}
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
    names = {"__name__": "tests", "__ahead__": lambda: ahead, "__changes__": changes, "__settle__": settle}
    if "numpy" in setup or "numpy" in test:
        numpy = _numpy(lambda value: isinstance(value, Later))
        sys.modules.update({"numpy": numpy, "numpy.testing": numpy.testing})
    imports = [node for node in setup_tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), "<setup>", "exec"), names)
    nodes = [*ast.walk(setup_tree), *ast.walk(test_tree)]
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    handlers = [node.type for node in nodes if isinstance(node, ast.ExceptHandler) and node.type]
    caught = {part.id for kinds in handlers for part in ast.walk(kinds) if isinstance(part, ast.Name)}
    for tree in (setup_tree, test_tree):
        ast.fix_missing_locations(Arrange().visit(tree))
    whole = ast.Module([*setup_tree.body, *test_tree.body], [])
    taken, added = global_names(compile(whole, "<assertion>", "exec"))
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
    try:
        if caught & own:
            inside()
        exec(compile(setup_tree, "<setup>", "exec"), names)
        try:
            exec(compile(test_tree, "<tests>", "exec"), names | asked if asked else names)
        except AssertionError:
            if made or not own:
                raise
        if not made and (own or asked):
            # `assert callable(f)`, `assert LIMIT == 9`: of what the submission has and is no call, nothing is known here.
            inside()
    except Stop:
        return
    except Exception:
        if not ahead:
            raise
    say("ahead" if ahead else "held")
