# The submission's guest. Nothing in here is trusted, and nothing in here is worth forging: it says what the submission
# returns, and what it should return is known elsewhere. Each line of an answer begins with the marker, so that what the
# submission prints is not taken for one.


def _load(marker, setup, submission):
    import sys
    import types

    write, flush = sys.stdout.write, sys.stdout.flush
    sys.set_int_max_str_digits(0)
    told, evaluate, makers = _told, eval, _makers()

    def say(text):
        # On a line of its own, whatever the submission wrote before.
        write("\n" + marker + " " + text + "\n")
        flush()

    def compiled(text, name, kind, fault):
        try:
            return compile(text, name, kind, dont_inherit=True)
        except (SyntaxError, ValueError):
            say(fault)
            raise SystemExit

    module = types.ModuleType("solution")
    names = vars(module)

    def value(text):
        say(told(evaluate(compiled(text, "<assertion>", "eval", "reference"), names)))

    def truth(text):
        say("True" if evaluate(compiled(text, "<assertion>", "eval", "reference"), names) else "False")

    def function(name):
        # A name of the submission's, or a method of its class `Solution`, as LeetCode has it.
        if name not in names and "Solution" in names or hasattr(names.get("Solution"), name):
            return getattr(names["Solution"](), name)
        return names[name]

    def call(name, arguments):
        import json

        say(told(function(name)(*json.loads(arguments))))

    def changeable(value):
        return isinstance(value, (list, dict, set, bytearray))

    def calls(texts):
        """Calls in turn, each `(name, arguments, keywords)`. What an argument that can be changed is afterwards is told too."""
        for text in texts:
            name, arguments, keywords = evaluate(text, dict(makers))
            given = [*arguments, *keywords.values()]
            before = [told(value) if changeable(value) else None for value in given]
            try:
                # An iterator may raise as well, while its items are told.
                result = told(function(name)(*arguments, **keywords))
                after = [told(value) if changeable(value) else None for value in given]
            except MemoryError:
                raise
            except Exception as error:
                kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
                say("raised " + told((kind.__name__, str(error))))
                continue
            changed = "[" + ",".join(["None" if old == new else new for old, new in zip(before, after)]) + "]"
            say("returned " + result)
            say("changed " + changed)

    globals().update(value=value, truth=truth, call=call, calls=calls)

    setup = compiled(setup, "<setup>", "exec", "reference")
    submission = compiled(submission, "<solution>", "exec", "syntax")
    sys.modules["solution"] = module
    try:
        exec(setup, names)
        ready = True
    except Exception:
        ready = False  # It may need what the submission defines.
    exec(submission, names)
    if not ready:
        exec(setup, names)
