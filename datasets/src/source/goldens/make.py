"""Makes types.parquet and half.parquet: a column of every logical type that data sets hold, as pyarrow 26 writes them.

    python make.py

What each value is, the test `parquet::tests::every_logical_type_is_read` says.
"""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MOMENT = dt.datetime(2024, 3, 1, 12, 30, 15, 250000)
BEFORE = dt.datetime(1969, 12, 31)
IN_UTC = MOMENT.replace(tzinfo=dt.timezone.utc)
TURN = pa.struct([("role", pa.string()), ("content", pa.string())])


class Grid(pa.ExtensionType):
    """As data sets of arrays have it: a type of another program's over one of Arrow's."""

    def __init__(self):
        super().__init__(pa.list_(pa.list_(pa.int8())), "datasets.grid")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


def column(kind, *values):
    return pa.array([*values, None], kind)


TYPES = {
    "prompt": pa.array(["p 1", "p 2", "p 3"]),
    "answer": pa.array(["1", "2", "3"]),
    "int8": column(pa.int8(), -128, 127),
    "int16": column(pa.int16(), -32768, 32767),
    "int32": column(pa.int32(), -(2**31), 2**31 - 1),
    "int64": column(pa.int64(), -(2**63), 2**63 - 1),
    "uint8": column(pa.uint8(), 0, 255),
    "uint16": column(pa.uint16(), 0, 65535),
    "uint32": column(pa.uint32(), 0, 2**32 - 1),
    "uint64": column(pa.uint64(), 0, 2**64 - 1),
    "float32": column(pa.float32(), 0.5, -1.5),
    "float64": column(pa.float64(), 0.1, -1e300),
    "bool": column(pa.bool_(), True, False),
    "string": column(pa.string(), "ä", ""),
    "large_string": column(pa.large_string(), "long", "\n"),
    "binary": column(pa.binary(), b"\x00\xff", b"text"),
    "large_binary": column(pa.large_binary(), b"\x00\xff", b"text"),
    "fixed_binary": column(pa.binary(2), b"\x00\xff", b"ab"),
    "date32": column(pa.date32(), dt.date(2024, 2, 29), dt.date(1969, 12, 31)),
    "timestamp_s": column(pa.timestamp("s"), MOMENT.replace(microsecond=0), BEFORE),
    "timestamp_ms": column(pa.timestamp("ms"), MOMENT, BEFORE),
    "timestamp_us": column(pa.timestamp("us"), MOMENT, BEFORE),
    "timestamp_ns": column(pa.timestamp("ns"), MOMENT, BEFORE),
    "timestamp_utc": column(pa.timestamp("us", tz="UTC"), IN_UTC, IN_UTC),
    "timestamp_zone": column(pa.timestamp("ms", tz="Europe/Berlin"), IN_UTC, IN_UTC),
    "timestamp_offset": column(pa.timestamp("us", tz="+02:00"), IN_UTC, IN_UTC),
    "time32": column(pa.time32("ms"), MOMENT.time(), dt.time(0)),
    "time64": column(pa.time64("us"), dt.time(12, 30, 15, 1), dt.time(0)),
    "duration": column(pa.duration("us"), dt.timedelta(seconds=90, microseconds=5), dt.timedelta(days=-1)),
    "decimal": column(pa.decimal128(10, 2), Decimal("123.45"), Decimal("-0.01")),
    "decimal_38": column(pa.decimal128(38, 0), Decimal(int("123456789" * 4 + "12")), Decimal(-1)),
    "list": column(pa.list_(pa.int64()), [1, None, 3], []),
    "list_int8": column(pa.list_(pa.int8()), [1, None, 3], []),
    "large_list": column(pa.large_list(pa.string()), ["a", "b"], [None]),
    "fixed_list": column(pa.list_(pa.float32(), 2), [0.5, 1.5], [2.0, None]),
    "list_of_moments": column(pa.list_(pa.timestamp("us", tz="UTC")), [IN_UTC], []),
    "struct": column(pa.struct([("a", pa.string()), ("b", pa.int32())]), {"a": "x", "b": 1}, {"a": None, "b": 2}),
    "struct_int16": column(pa.struct([("a", pa.int16()), ("b", pa.date32())]), {"a": 7, "b": dt.date(2024, 2, 29)}, {"a": 1}),
    "messages": column(pa.list_(TURN), [{"role": "user", "content": "q"}], []),
    "map": column(pa.map_(pa.string(), pa.int64()), [("a", 1), ("b", 2)], []),
    "dictionary": column(pa.dictionary(pa.int32(), pa.string()), "one", "two"),
    "dictionary_int": column(pa.dictionary(pa.int8(), pa.int64()), 5, 6),
    "list_of_dictionary": column(pa.list_(pa.dictionary(pa.int32(), pa.string())), ["one", "two"], []),
    "extension": pa.ExtensionArray.from_storage(Grid(), column(Grid().storage_type, [[1], [2, 3]], [])),
    "list_of_nulls": column(pa.list_(pa.null()), [None], []),
    "struct_of_fixed": column(pa.struct([("a", pa.list_(pa.uint8(), 1))]), {"a": [200]}, {"a": None}),
    "nulls": pa.nulls(3),
}
HALF = {"prompt": TYPES["prompt"], "answer": TYPES["answer"], "half": pa.array(np.array([0.5, 1, 2], np.float16))}

for name, columns in {"types": TYPES, "half": HALF}.items():
    path = Path(__file__).with_name(f"{name}.parquet")
    plain = {"use_dictionary": False, "write_statistics": False, "compression": "none"}
    pq.write_table(pa.table(columns), path, **plain)
    print(path.name, path.stat().st_size)
