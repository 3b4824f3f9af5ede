"""The columns of a table of samples; docs/sql.md describes them.

The path of a file has the columns ``date``, ``service`` and ``type``. No column of a file has one of these names:
BigQuery refuses that.
"""

import pyarrow as pa

_TIME = pa.timestamp("us", tz="UTC")
_TEXT = pa.string()


def _required(name: str, data_type: pa.DataType) -> pa.Field:
    return pa.field(name, data_type, nullable=False)


SCHEMA = pa.schema(
    [
        _required("service_name", _TEXT),
        _required("start", _TIME),
        _required("end", _TIME),
        _required("labels", pa.map_(_TEXT, _TEXT)),
        _required("profiles", pa.int64()),
        _required("sample_type", _TEXT),
        _required("unit", _TEXT),
        _required("value", pa.int64()),
        _required("function", _TEXT),
        _required("package", _TEXT),
        _required("stack", pa.list_(pa.field("element", _TEXT, nullable=False))),
        _required("files", pa.list_(pa.field("element", _TEXT, nullable=False))),
        _required("lines", pa.list_(pa.field("element", pa.int64(), nullable=False))),
        _required("is_first", pa.list_(pa.field("element", pa.bool_(), nullable=False))),
        _required("mapping", _TEXT),
        _required("sample_labels", pa.map_(_TEXT, _TEXT)),
    ]
)


def _encode(field: pa.Field) -> pa.Field:
    """Return *field* with texts as Arrow's dictionaries, except those of maps."""
    data_type = field.type
    if pa.types.is_list(data_type):
        data_type = pa.list_(_encode(data_type.value_field))
    elif pa.types.is_string(data_type):
        data_type = pa.dictionary(pa.int32(), _TEXT)
    return field.with_type(data_type)


# The same, as the writer gets it: a text is written once, and a number for each row.
FILE_SCHEMA = pa.schema(list(map(_encode, SCHEMA)))

# Paths of the columns with a dictionary: all but ``lines``. Equal stacks follow each other, and zstd recognizes
# repeated bytes, but not the bits of a dictionary's numbers.
DICTIONARIES = [
    path
    for name in SCHEMA.names
    if name != "lines"
    for path in (name, f"{name}.list.element", f"{name}.key_value.key", f"{name}.key_value.value")
]
