"""Reading adjacent ranges of an object at once: each read of an object is billed, whatever its size."""

from collections.abc import Iterator, Sequence

from profbucket.storage.ports import Bucket, ObjectRange

_MAX_BYTES = 4 << 20  # of ranges that are read at once


def get_joined(bucket: Bucket, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
    """Yield the bytes of each of *ranges*, in order, as :meth:`Bucket.get_many` does.

    If an object is shorter than its ranges say, those beyond its end are shorter or empty.
    """
    runs = list(_split_into_runs(ranges))
    joined = [ObjectRange(run[0].key, run[0].begin, run[-1].end) for run in runs]
    for run, data in zip(runs, bucket.get_many(joined), strict=True):
        if len(run) == 1 or data is None:
            yield from [data] * len(run)
            continue
        first = run[0].begin
        for _, begin, end in run:
            yield data[begin - first : end - first if end else None]


def _split_into_runs(ranges: Sequence[ObjectRange]) -> Iterator[list[ObjectRange]]:
    """Yield *ranges* in lists of those that adjoin each other."""
    run: list[ObjectRange] = []
    for item in ranges:
        if run and not (_adjoin(run[-1], item) and (item.end or 0) - run[0].begin <= _MAX_BYTES):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def _adjoin(first: ObjectRange, second: ObjectRange) -> bool:
    return second.key == first.key and second.begin == first.end and second.end is not None
