"""Runs in the sandbox: one call of a reward function that a recipe names, in the way in which TRL calls it.

It reads a JSON object from standard input (`python.rs` writes it) and writes one to standard output, after a mark:
`scores`, or `problem` with the line of the reward's file; and what the reward printed.
"""

import difflib
import inspect
import io
import json
import linecache
import math
import os
import sys
import traceback
import types

PRINTED_CHARACTERS = 65_536
MESSAGE_CHARACTERS = 500
WHOLE_GROUP = ("prompts", "completions", "completion_ids")
# What TRL gives besides, of its trainer: here there is none.
OF_A_TRAINER = ("trainer_state", "log_extra", "log_metric")


class Problem(Exception):
    """What is wrong with the reward, in words for whoever wrote it."""

    def __init__(self, text, line=None, hint=None):
        super().__init__(text)
        self.line = line
        self.hint = hint


class Prints(io.TextIOBase):
    """What the reward prints, up to a limit: a flood must not end a run."""

    def __init__(self):
        self.parts = []
        self.room = PRINTED_CHARACTERS
        self.left_out = 0

    def writable(self):
        return True

    def write(self, text):
        if self.room > 0:
            self.parts.append(text[: self.room])
        self.left_out += max(len(text) - max(self.room, 0), 0)
        self.room -= len(text)
        return len(text)

    def text(self):
        end = f"\n... and {self.left_out} characters more\n" if self.left_out else ""
        return "".join(self.parts) + end


def load(path, source):
    """The reward's file as a module: not `__main__`, so that what stands below such an `if` does not run."""
    source = source.removeprefix("\ufeff")
    module = types.ModuleType("reward_file")
    module.__file__ = path
    sys.modules[module.__name__] = module
    linecache.cache[path] = (len(source), None, source.splitlines(True), path)
    guarded(path, lambda: exec(compile(source, path, "exec", dont_inherit=True), module.__dict__))
    return module


def guarded(path, action):
    """What `action` returns; an exception becomes a problem at the line of the file from which it came."""
    try:
        return action()
    except Problem:
        raise
    except BaseException as error:
        raise raised(path, error) from None


def raised(path, error):
    line = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == path:
            line = number
    if isinstance(error, SyntaxError) and error.filename == path:
        line = error.lineno
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:
        text = "its text cannot be made"
    said = type(error).__name__ + (f": {text}" if text else "")
    hint = None
    if isinstance(error, SyntaxError):
        return Problem(f"is no Python: {said}"[:MESSAGE_CHARACTERS], line)
    if isinstance(error, ModuleNotFoundError):
        hint = "a reward can import Python's standard library, and nothing else"
    elif isinstance(error, TypeError) and "indices must be integers" in text:
        hint = "if it expects messages, a list of {\"role\", \"content\"}, set conversational = true beside its path"
    return Problem(f"raised {said}"[:MESSAGE_CHARACTERS], line, hint)


def find(module, path, name):
    function = getattr(module, name, None)
    if callable(function):
        return function
    own = [
        key
        for key, value in vars(module).items()
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    if not own:
        raise Problem(f"has no function `{name}`", hint="it defines no function")
    near = difflib.get_close_matches(name, own, 1)
    hint = f"did you mean function = \"{near[0]}\"?" if near else f"set function = to one of: {', '.join(own)}"
    raise Problem(f"has no function `{name}`", hint=hint)


def line_of(function):
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if code else None


def check_parameters(function, name, parameters):
    """Every parameter of the recipe must be one of the function's own; `**kwargs` would swallow a slip."""
    takes = inspect.signature(function).parameters
    named = [key for key, value in takes.items() if value.kind not in (value.VAR_KEYWORD, value.VAR_POSITIONAL)]
    own = [key for key in named if key not in WHOLE_GROUP]
    for key in parameters:
        if key in WHOLE_GROUP:
            raise Problem(f"is given `{key}` by every call, so it cannot be a parameter", line_of(function))
        if key not in own:
            near = difflib.get_close_matches(key, own, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"its function `{name}` takes {', '.join(named) or 'nothing'}"
            raise Problem(f"has no parameter `{key}`", line_of(function), hint)


def arguments(function, name, call):
    """Of all that is known, what the function takes: everything where it has `**kwargs`."""
    known = call["columns"] | call["group"] | call["parameters"]
    takes = inspect.signature(function).parameters
    kinds = {value.kind for value in takes.values()}
    for key, value in takes.items():
        if value.kind is value.POSITIONAL_ONLY:
            raise Problem(f"has a function `{name}` that takes `{key}` by position only", line_of(function))
        wanted = value.default is value.empty and value.kind in (value.POSITIONAL_OR_KEYWORD, value.KEYWORD_ONLY)
        if wanted and key not in known and key in OF_A_TRAINER:
            raise Problem(
                f"asks for `{key}`, which is a trainer's of TRL",
                line_of(function),
                f"there is none here; where the function can do without, write {key}=None",
            )
        if wanted and key not in known:
            raise Problem(
                f"asks for `{key}`, which this task has no column of",
                line_of(function),
                f"there are {', '.join(sorted(known))}",
            )
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return known
    return {key: value for key, value in known.items() if key in takes}


def scores_of(result, name, line, expected):
    """The scores as numbers that JSON can hold; `None` is "not scored"."""
    if not isinstance(result, (list, tuple)):
        kind = type(result).__name__
        hint = "make a list of it: list(...)" if hasattr(result, "__iter__") and not isinstance(result, (str, dict)) else None
        raise Problem(f"returned a value of type {kind}, expected a list of {expected} numbers", line, hint)
    if len(result) != expected:
        raise Problem(
            f"returned {len(result)} score{'' if len(result) == 1 else 's'} for {expected} "
            f"completion{'' if expected == 1 else 's'}, expected one for each",
            line,
        )
    scores = []
    for place, value in enumerate(result):
        if value is None:
            scores.append(None)
            continue
        where = f"for completion {place + 1} of {expected}"
        if not isinstance(value, (int, float)):
            raise Problem(f"returned a value of type {type(value).__name__} {where}, expected a number or None", line)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            hint = "where it has nothing to say it returns None" if math.isnan(number) else None
            raise Problem(f"returned {number} {where}, expected a finite number", line, hint)
        scores.append(number)
    return scores


def awaited(coroutine, line):
    """What an `async def` returns that waits for nothing but its turn."""
    while True:
        try:
            awaits = coroutine.send(None)
        except StopIteration as end:
            return end.value
        if awaits is not None:
            raise Problem("waits for something", line, "in the sandbox nothing comes from outside: there is no event loop")


def run(call):
    path, name = call["path"], call["function"]
    function = find(load(path, call["source"]), path, name)
    try:
        check_parameters(function, name, call["parameters"])
    except ValueError:
        raise Problem(f"has a function `{name}` whose arguments cannot be known") from None
    if call["group"] is None:
        return None
    given = arguments(function, name, call)
    result = guarded(path, lambda: function(**given))
    if inspect.iscoroutine(result):
        result = guarded(path, lambda: awaited(result, line_of(function)))
    return scores_of(result, name, line_of(function), len(call["group"]["completions"]))


def main(write=os.write, dumps=json.dumps):
    call = json.loads(sys.stdin.buffer.read())
    prints = Prints()
    sys.stdout = sys.stderr = prints
    try:
        answer = {"scores": run(call)}
    except Problem as problem:
        answer = {"problem": str(problem), "line": problem.line, "hint": problem.hint}
    try:
        answer["printed"] = prints.text()
    except BaseException:
        answer["printed"] = ""
    data = ("\n" + call["mark"] + dumps(answer, ensure_ascii=False)).encode("utf-8", "replace")
    while data:
        data = data[write(1, data) :]


main()
