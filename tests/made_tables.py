"""What hypothesis makes tables of: words, names of columns, and columns of every type that a file may hold."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]
Test = TypeVar("Test", bound=Callable[..., None])

EXAMPLES = int(os.environ.get("MNEME_EXAMPLES", "0"))
"""So many examples of each property, each time others; 0: a few, always the same."""


def examples(few: int) -> Callable[[Test], Test]:
    """Return how a property is tried: a few times, or as often as MNEME_EXAMPLES says."""
    return settings(
        max_examples=EXAMPLES or few,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"], exclude_characters="\ufffd")
WORDS = st.text(LETTERS, min_size=1, max_size=6)
KNOWN = (
    *("id", "ID ", "text", "Texts", "caption", "title", "labels", "label", "task", "split", "file_name"),
    *("path", "image", "audio", "video", "image_embedding", "Image Embedding"),
)
NAMES = st.sampled_from([*KNOWN, "url", "captoin", "a.b", "a", "x y", "", " "]) | WORDS | st.text(max_size=4)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | WORDS
    # a split, a number that no float holds, half a character, a file
    | st.sampled_from(["train", 10**400, "\ud800", "a.jpg"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip

CELLS = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufffd"), max_size=6)
    | WORDS
    | st.sampled_from(["a; b", "train", "a, b", 'a"', '"', '"a', '5" disc', "a\nb", "x\n1,y", "a.jpg"])
    | st.sampled_from(["", " x", "x ", "\u2028", "7"])
)

SMALL = st.floats(width=32)
DAY = 86_400


def several(values: Strategy, size: int) -> Strategy:
    return st.lists(values, min_size=size, max_size=size)


ARROW: Mapping[str, tuple[pa.DataType, Strategy]] = {
    "string": (pa.string(), WORDS | st.just("")),
    "large_string": (pa.large_string(), WORDS),
    "binary": (pa.binary(), st.binary(max_size=4) | WORDS.map(str.encode)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float64": (pa.float64(), st.floats()),
    "float16": (pa.float16(), st.floats(width=16).map(np.float16)),
    "bool": (pa.bool_(), st.booleans()),
    "timestamp": (pa.timestamp("s"), st.integers(-(2**50), 2**50)),
    "nanoseconds": (pa.timestamp("ns"), st.integers(-(2**63), 2**63 - 1)),
    "zoned": (pa.timestamp("us", "UTC"), st.integers(-(2**60), 2**60)),
    "date32": (pa.date32(), st.integers(-(2**31), 2**31 - 1)),
    "date64": (pa.date64(), st.integers(-(10**8), 10**8).map(lambda day: day * DAY * 1000)),
    "time64": (pa.time64("ns"), st.integers(0, DAY * 10**9 - 1)),
    "duration": (pa.duration("ns"), st.integers(-(2**62), 2**62)),
    "decimal": (pa.decimal128(20, 4), st.decimals(-1000, 1000, places=4)),
    "words": (pa.list_(pa.string()), st.lists(st.none() | WORDS, max_size=3)),
    "numbers": (pa.list_(pa.int64()), st.lists(st.none() | st.integers(-3, 3), max_size=4)),
    "booleans": (pa.list_(pa.bool_()), st.lists(st.none() | st.booleans(), max_size=4)),
    "vectors": (pa.list_(pa.float32()), st.lists(st.none() | SMALL, max_size=3)),
    "pairs": (pa.large_list(pa.float64()), several(st.none() | st.floats(), 2)),
    "halves": (pa.list_(pa.float16()), several(st.floats(width=16).map(np.float16), 2)),
    "fixed": (pa.list_(pa.float32(), 3), several(st.none() | SMALL, 3)),
    "fixed int8": (pa.list_(pa.int8(), 3), several(st.none() | st.integers(0, 1), 3)),
    "fixed bool": (pa.list_(pa.bool_(), 3), several(st.none() | st.booleans(), 3)),
    "fixed of one": (pa.list_(pa.int64(), 1), several(st.integers(0, 2**60), 1)),
    "fixed of none": (pa.list_(pa.float32(), 0), st.just([])),
    "matrices": (pa.list_(pa.list_(pa.float32())), st.lists(st.lists(SMALL, max_size=2), max_size=2)),
    "struct": (pa.struct([("a", pa.int64())]), st.fixed_dictionaries({"a": st.integers(0, 9)})),
    "map": (pa.map_(pa.string(), pa.int64()), st.lists(st.tuples(WORDS, st.integers(0, 9)), max_size=2)),
    "null": (pa.null(), st.none()),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), WORDS),
    "tensor": (pa.fixed_shape_tensor(pa.float32(), (2, 2)), several(SMALL, 4)),
}
"""Arrow's types that a Parquet file may hold, and their values."""


def arrow(kind: str, values: Sequence[Any]) -> pa.Array:
    """Return a column of Arrow's."""
    type_ = ARROW[kind][0]
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, pa.array(values, type_.storage_type))
    return pa.array(values, type_)


NUMPY: Mapping[str, tuple[Any, Strategy]] = {
    "strings": ("U6", WORDS),
    "bytes": ("S4", st.binary(max_size=4) | WORDS.map(lambda word: word.encode()[:4])),
    "int8": ("i1", st.integers(-128, 127)),
    "int64": (">i8", st.integers(-(2**63), 2**63 - 1)),
    "uint64": ("u8", st.integers(0, 2**64 - 1)),
    "float16": ("f2", st.floats(width=16)),
    "float32": (">f4", SMALL),
    "float64": ("f8", st.floats()),
    "long double": (np.longdouble, st.floats()),
    "bool": ("?", st.booleans()),
    "nanoseconds": ("M8[ns]", st.integers(-(2**62), 2**62)),
    "years": ("M8[Y]", st.integers(-3000, 20000)),
    "seconds": ("m8[s]", st.integers(-(2**40), 2**40)),
    "records": ([("a", "i4"), ("b", "f4")], st.tuples(st.integers(0, 9), SMALL)),
}
"""The types that an array of numpy may have, and their values."""
