# What tests use numpy for where they have nothing but numbers: to say that they are close. There is no numpy in the sandbox.


def _numpy(is_unknown):
    """The module. What `is_unknown` is close to everything: the test is run to see which calls it makes."""
    import math
    import types

    numpy = types.ModuleType("numpy")
    numpy.testing = types.ModuleType("numpy.testing")

    def isclose(one, other, rtol=1e-05, atol=1e-08, equal_nan=False):
        if is_unknown(one) or is_unknown(other):
            return True
        if math.isnan(one) and math.isnan(other):
            return equal_nan
        return one == other or abs(one - other) <= atol + rtol * abs(other) < math.inf

    def allclose(one, other, rtol=1e-05, atol=1e-08, equal_nan=False):
        if is_unknown(one) or is_unknown(other):
            return True
        lists = [isinstance(value, (list, tuple)) for value in (one, other)]
        if all(lists):
            if len(one) != len(other):
                raise ValueError("operands could not be broadcast together")
            return all(allclose(a, b, rtol, atol, equal_nan) for a, b in zip(one, other))
        # numpy compares each element of a list with a number, so that an empty list is close to any.
        return not any(lists) and isclose(one, other, rtol, atol, equal_nan)

    def assert_allclose(actual, desired, rtol=1e-07, atol=0, equal_nan=True, err_msg="", verbose=True):
        try:
            close = allclose(actual, desired, rtol, atol, equal_nan)
        except ValueError:
            close = False
        if not close:
            raise AssertionError(err_msg or "Not equal to tolerance")

    numpy.allclose, numpy.isclose, numpy.testing.assert_allclose = allclose, isclose, assert_allclose
    numpy.ndarray = type("ndarray", (), {})
    numpy.float64 = numpy.float32 = type("float64", (float,), {})
    numpy.inf, numpy.nan, numpy.pi = math.inf, math.nan, math.pi
    return numpy
