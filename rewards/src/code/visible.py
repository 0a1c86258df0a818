# What the submission may see of a setup, found out where no submission is. Tests stand in a setup as well: a `check`, the
# reference solution that it compares with, tables of cases. Whoever has them need not solve anything.
#
# Nothing says which part of a setup is whose, so it is told by what touches what. Two names touch where one statement of the
# tests has both, and what touches a name of the submission's, over however many steps, belongs to the tests. What the question
# shows word for word is no secret, and what the submission is asked with (`f(root)`) has to be there.


def _visible(marker, setup, asked, blocks, question):
    import ast
    import builtins
    import dis
    import importlib
    import os
    import re
    import sys
    import types

    # Each may read or write any name.
    reflecting = {"globals", "locals", "vars", "dir", "eval", "exec", "compile"}
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    collecting = {"dict", "list", "tuple", "set", "frozenset", "zip", "map", "sorted", "enumerate", "range"}

    def say(text):
        data = ("\n" + marker + " " + text + "\n").encode("utf-8", "surrogatepass")
        while data:
            data = data[os.write(1, data) :]

    def parsed(text, mode="exec"):
        # Tests that are no Python are found out elsewhere.
        try:
            return ast.parse(text, mode=mode)
        except (SyntaxError, ValueError):
            return ast.Module([], [])

    def global_names(code, module=True):
        """The names that the code, with all within it, takes from the module, and those that it gives to it."""
        taken, given = set(), set()
        for part in dis.get_instructions(code):
            if part.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
                taken.add(part.argval)
            # What a class stores under a name is its own.
            elif part.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") or module and part.opname in ("STORE_NAME", "DELETE_NAME"):
                given.add(part.argval)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                more = global_names(constant, False)
                taken |= more[0]
                given |= more[1]
        return taken, given

    def changed(node):
        """What a statement changes without binding it: `root.left = 1`, `table[k] = v`, `rows.append(1)`, `fill(table)`."""
        names = set()
        for part in ast.walk(node):
            if isinstance(part, (ast.Attribute, ast.Subscript)) and not isinstance(part.ctx, ast.Load):
                while isinstance(part, (ast.Attribute, ast.Subscript)):
                    part = part.value
                names |= {part.id} if isinstance(part, ast.Name) else set()
            elif isinstance(part, ast.Expr):
                names |= identifiers(part)
        return names

    def identifiers(node, context=ast.expr_context):
        return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, context)}

    def attributed(node):
        """What is used as modules are."""
        return {
            part.value.id for part in ast.walk(node) if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)
        }

    class Statement:
        """A statement of the setup: what it takes from the module's names, what it makes or changes of them."""

        def __init__(self, node):
            self.node = node
            self.taken, self.given = global_names(compile(ast.Module([node], []), "<setup>", "exec"))
            if not isinstance(node, (*functions, ast.ClassDef)):
                self.given |= changed(node)
            self.imports = isinstance(node, (ast.Import, ast.ImportFrom))
            self.tests = any(isinstance(part, ast.Assert) for part in ast.walk(node)) or any(
                name.lower().startswith(("test", "check", "assert")) for name in [getattr(node, "name", "")]
            )

        def numpy(self):
            # Of the tests alone: the submission cannot have it.
            modules = [alias.name for alias in self.node.names]
            modules = [self.node.module or ""] if isinstance(self.node, ast.ImportFrom) else modules
            return any(name.split(".")[0] == "numpy" for name in modules)

        def is_table(self):
            """Whether it is data of several values, or the building of such."""
            if isinstance(self.node, (ast.For, ast.While)):
                return True
            value = getattr(self.node, "value", None)
            if not isinstance(self.node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                return False
            if isinstance(value, ast.Call):
                return isinstance(value.func, ast.Name) and value.func.id in collecting
            comprehensions = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
            return isinstance(value, (ast.List, ast.Tuple, ast.Set, ast.Dict, *comprehensions))

    def imported(tree):
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    if alias.name != "*":
                        names.add((alias.asname or alias.name).split(".")[0])
                        continue
                    try:
                        module = vars(importlib.import_module(node.module))
                    except Exception:
                        continue
                    names |= set(module.get("__all__") or (name for name in module if name[0] != "_"))
        return names

    def tokens(text):
        return " " + " ".join(re.findall(r"\w+|[^\w\s#]", text)) + " "

    def statement_groups(node, local, around=frozenset()):
        """Names that are together in one statement; with those that decide whether it is run."""
        label = lambda names: {local.get(name, name) for name in names}
        bodies = [getattr(node, field, []) for field in ("body", "orelse", "finalbody", "handlers", "cases")]
        bodies = [part for body in bodies if isinstance(body, list) for part in body]
        if isinstance(node, (*functions, ast.ClassDef)) or not bodies:
            named = {node.name} if hasattr(node, "name") and isinstance(node.name, str) else set()
            return [label(identifiers(node) | named) | around]
        heads = [part for part in ast.iter_child_nodes(node) if part not in bodies]
        around = around | label(set().union(*(identifiers(part) for part in heads)))
        return [around, *(group for part in bodies for group in statement_groups(part, local, around))]

    def function_groups(node):
        """A function that asserts: its statements one by one, since it may try helpers by the way."""
        declared_global = {name for part in ast.walk(node) if isinstance(part, ast.Global) for name in part.names}
        own = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
        own |= identifiers(node, (ast.Store, ast.Del))
        own |= {part.name for part in ast.walk(node) if isinstance(part, functions) and part is not node}
        own |= imported(node)
        local = {name: (node.name, name) for name in own - declared_global}
        returned = [part for part in ast.walk(node) if isinstance(part, (ast.Return, ast.Yield, ast.YieldFrom))]
        groups = [{node.name, *((node.name, part.arg) for part in ast.walk(node.args) if isinstance(part, ast.arg))}]
        for part in [node.args, *node.decorator_list, *returned]:
            groups.append({node.name} | {local.get(name, name) for name in identifiers(part)})
        return groups + [group for part in node.body for group in statement_groups(part, local)]

    try:
        tree = ast.parse(setup, "<setup>")
        statements = [Statement(node) for node in tree.body]
    except (SyntaxError, ValueError):
        say("syntax")
        return
    shown_text = tokens(question)
    lines = re.split("\r\n|\r|\n", setup)
    for one in statements:
        one.shown = tokens("\n".join(lines[one.node.lineno - 1 : one.node.end_lineno])) in shown_text
    blocks = [parsed(text) for text in blocks]
    public = imported(tree).union(*(one.given for one in statements if one.shown))
    made = set().union(*(one.given for one in statements if not one.imports)) - public

    # What the submission is asked with has to be there, and what that is made with.
    asked_names = set().union(*(identifiers(parsed(text, "eval")) for text in asked))
    needed, more = set(), asked_names & made
    while more:
        needed |= more
        more = set().union(*(one.taken | one.given for one in statements if one.given & needed)) & made - needed

    in_blocks = [[group for node in block.body for group in statement_groups(node, {})] for block in blocks]
    groups = [group for block in in_blocks for group in block]
    for one in statements:
        if one.tests and isinstance(one.node, functions):
            groups += function_groups(one.node)
        elif not one.imports:
            groups.append(one.taken | one.given)
    # The submission's names: those that the tests take from nowhere.
    modules = set(sys.stdlib_module_names) & set().union(*(attributed(part) for part in [tree, *blocks]))
    stored = set().union(*(identifiers(block, ast.Store) for block in blocks))
    known = public | made | vars(builtins).keys() | modules | stored
    own = asked_names.union(*groups[: sum(map(len, in_blocks))], *(one.taken for one in statements if one.tests)) - known
    for block in in_blocks:
        mentioned = set().union(*block)
        if not mentioned & own:
            # By another name, a built-in function's say: then all that it mentions.
            own |= mentioned - public
    for group in groups:
        if group & reflecting:
            group |= made
    # Everything else is not told apart by being used in two places: built-in and imported names, and those that are unknown.
    conducting = made | stored | own
    groups = [{name for name in group if isinstance(name, tuple) or name in conducting} for group in groups]
    touched = set(own)
    while True:
        more = set().union(*(group for group in groups if group & touched)) - touched
        if not more:
            break
        touched |= more

    used = set().union(*(one.taken - one.given for one in statements if not (one.tests or one.is_table())))
    words = set(re.findall(r"\w+", question))
    hidden = touched & made - needed
    visible = [one for one in statements if not (one.imports and one.numpy())]
    while True:
        kept = []
        for one in visible:
            free = one.imports or one.shown or one.given & needed
            table = one.is_table() and not one.given & (used | words)
            if free or not (one.tests or table or (one.taken | one.given) & hidden):
                kept.append(one)
            else:
                hidden |= one.given & made - needed
        if len(kept) == len(visible):
            break
        visible = kept
    say("setup " + _literal(ast.unparse(ast.Module([one.node for one in visible], []))))
