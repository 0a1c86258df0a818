# The guest of a task's own checker, which is called with the names of three files and prints what an output is worth.


def _check(program, given, expected, printed):
    import builtins
    import io
    import sys

    files = {"input.txt": given, "expected.txt": expected, "output.txt": printed}

    def open_file(name, mode="r", *_, **__):
        text = files[str(name)]
        return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)

    builtins.open = io.open = open_file
    sys.argv[:] = ["checker.py", *files]
    exec(compile(program, "<checker>", "exec"), {"__name__": "__main__"})
