# The submission's guest. Nothing in here is trusted, and nothing in here is worth forging: it says what the submission
# returns, and what it should return is known elsewhere. Each line of an answer begins with the marker, so that what the
# submission prints is not taken for one.


def _load(marker, setup, submission):
    import sys
    import types

    write, flush = sys.stdout.write, sys.stdout.flush
    sys.set_int_max_str_digits(0)
    told, containers, evaluate, makers = _told, _containers, eval, _makers()

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

    def raised(error):
        """What a test may ask of an exception: which it is, by the names of its classes; what it was made of, its attributes, as
        far as they are plain values; its text."""
        kinds = [(kind.__module__, kind.__qualname__) for kind in type(error).__mro__ if issubclass(kind, Exception)]
        text, made_of = str(error), error.args
        if told(made_of)[0] == "?":
            made_of = (text,)
        attributes = {name: value for name, value in vars(error).items() if told(value)[0] != "?"}
        return told((kinds, made_of, attributes, text))

    def calls(texts):
        """Calls in turn, each `(name, arguments, keywords)`. What of the arguments was changed is told too, for each of their
        lists and the like; in what is told the others stand as themselves."""
        for text in texts:
            name, arguments, keywords = evaluate(text, dict(makers))
            originals = containers([*arguments, *keywords.values()])
            given = {id(one): at for at, one in enumerate(originals)}

            def states():
                said = []
                for one in originals:
                    at = given.pop(id(one))
                    said.append(told(one, given))
                    given[id(one)] = at
                return said

            before = states()
            try:
                value = function(name)(*arguments, **keywords)
                # An iterator may raise as well, while its items are told.
                result = "returned " + told(value, given)
            except MemoryError:
                raise
            except Exception as error:
                result = "raised " + raised(error)
            changed = ["None" if old == new else new for old, new in zip(before, states())]
            if result.startswith("returned") and "argument_of" in result and changed.count("None") < len(changed):
                # To the test they are changed later than it has the result: see judge.py.
                result = "returned " + told(value)
            say(result)
            say("changed [" + ",".join(changed) + "]")

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
