# Values as text, in the guest of the submission and in that of the tests. What the text may be is decided outside
# (literal.rs): this only has to write honest values so that they are understood.


class _Foreign(Exception):
    """A value that is not plain."""


class _Argument:
    """Stands in a value for what the call was given: one of `_containers` of its arguments."""

    def __init__(self, at):
        self.at = at


def _containers(values):
    """What of the values, and within them, can be changed in place; the same for values that have the same literal."""
    found = []

    def look(value):
        if isinstance(value, (list, dict, set, bytearray)):
            found.append(value)
        if isinstance(value, list):
            items = list.__iter__(value)
        elif isinstance(value, dict):
            items = dict.values(value)
        else:
            items = tuple.__iter__(value) if isinstance(value, tuple) else ()
        for item in items:
            look(item)

    for value in values:
        look(value)
    return found


def _literal(value, given=()):
    """The value as a Python literal. Of what is in `given`, by its `id`, only its place there."""
    if given and id(value) in given:
        return "argument_of(" + repr(given[id(value)]) + ")"
    if value is None or value is True or value is False:
        return repr(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, str):
        return str.__repr__(value)
    if isinstance(value, bytes):
        return bytes.__repr__(value)
    if isinstance(value, list):
        return "[" + ",".join([_literal(item, given) for item in list.__iter__(value)]) + "]"
    if isinstance(value, tuple):
        return "(" + "".join([_literal(item, given) + "," for item in tuple.__iter__(value)]) + ")"
    if isinstance(value, frozenset):
        return "frozenset([" + ",".join([_literal(item) for item in value]) + "])"
    if isinstance(value, set):
        return "set([" + ",".join([_literal(item) for item in value]) + "])"
    if isinstance(value, dict):
        return "{" + ",".join([_literal(key) + ":" + _literal(item, given) for key, item in dict.items(value)]) + "}"
    for name, view in (("keys_of", {}.keys()), ("values_of", {}.values()), ("items_of", {}.items())):
        if isinstance(value, type(view)):
            return name + "([" + ",".join([_literal(item) for item in value]) + "])"
    kind = type(value)
    name = (kind.__module__, kind.__name__)
    if name == ("builtins", "bytearray"):
        return "bytearray(" + repr(bytes(value)) + ")"
    if name == ("builtins", "complex"):
        return "complex(" + repr(value.real) + "," + repr(value.imag) + ")"
    if name == ("builtins", "range"):
        return "range(" + repr(value.start) + "," + repr(value.stop) + "," + repr(value.step) + ")"
    if name == ("fractions", "Fraction"):
        return "Fraction(" + repr(value.numerator) + "," + repr(value.denominator) + ")"
    if name == ("decimal", "Decimal"):
        return "Decimal(" + repr(str(value)) + ")"
    if name == ("collections", "deque"):
        return "deque(" + _literal(list(value)) + ")"
    if name[0] == "datetime":
        text = _moment(value)
        if text:
            return text
    if kind.__module__ in ("builtins", "itertools") and hasattr(kind, "__next__"):
        items = []
        for item in value:
            items.append(item)
            if len(items) > 100_000:
                raise _Foreign(kind.__name__)
        return "iter(" + _literal(items) + ")"
    raise _Foreign(kind.__name__)


def _moment(value):
    """A date, a time, both, or a difference of such; nothing where there is a time zone. Under names that a test's own text
    does not have, since `date(2020, 1, 1)` may be anything there."""
    import datetime

    day = ("year", "month", "day")
    clock = ("hour", "minute", "second", "microsecond")
    parts = {
        datetime.date: ("date_of", day),
        datetime.time: ("time_of", clock),
        datetime.datetime: ("datetime_of", day + clock),
        datetime.timedelta: ("timedelta_of", ("days", "seconds", "microseconds")),
    }
    name, fields = parts.get(type(value), ("", ()))
    if not name or getattr(value, "tzinfo", None) is not None:
        return None
    return name + "(" + ",".join([repr(getattr(value, field)) for field in fields]) + ")"


def _told(value, given=()):
    """The literal, or a text that is none."""
    try:
        return _literal(value, given)
    except (_Foreign, RecursionError):
        return "?" + type(value).__name__.replace("\n", " ")


def _makers():
    """What literals are made with."""
    import collections
    import datetime
    import decimal
    import fractions

    return {
        "deque": collections.deque,
        "Decimal": decimal.Decimal,
        "Fraction": fractions.Fraction,
        "date_of": datetime.date,
        "time_of": datetime.time,
        "datetime_of": datetime.datetime,
        "timedelta_of": datetime.timedelta,
        "keys_of": lambda keys: dict.fromkeys(keys).keys(),
        "values_of": lambda values: dict(enumerate(values)).values(),
        "items_of": lambda items: dict(items).items(),
        "argument_of": _Argument,
        "inf": float("inf"),
        "nan": float("nan"),
    }
