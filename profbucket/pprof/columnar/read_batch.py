"""Read split profiles as a batch.

A profile in an uncommon layout, or an invalid one, raises ``NeedsProtobuf``: protobuf normalizes or rejects it.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from profbucket.errors import ProfbucketError, detach
from profbucket.limits import Limits
from profbucket.pprof import wire
from profbucket.pprof.columnar.added_labels import add_labels
from profbucket.pprof.columnar.arrays import Bools, Ints, Words, expand_ranges, flatnonzero, to_offsets
from profbucket.pprof.columnar.batch import (
    Batch,
    FunctionColumns,
    HeaderColumns,
    LocationColumns,
    MappingColumns,
    SampleColumns,
)
from profbucket.pprof.columnar.fast_locations import EncodedLocations, read_locations
from profbucket.pprof.columnar.fast_samples import SampleReader
from profbucket.pprof.columnar.generic_reader import (
    FUNCTION,
    LINE,
    LOCATION,
    MAPPING,
    PERIOD_TYPE,
    PROFILE,
    SAMPLE,
    SAMPLE_TYPE,
    GenericReader,
    NeedsProtobuf,
)
from profbucket.pprof.columnar.id_index import IdIndex, check_rows
from profbucket.pprof.columnar.pending_profile import PendingProfile
from profbucket.pprof.columnar.string_table import StringTable
from profbucket.pprof.columnar.varint_reader import UncommonLayout
from profbucket.pprof.numbers import MIN_TIME_NANOS

# Values are read column by column: protobuf first decides whether a profile may have more sample types than this.
_MAX_UNVALIDATED_SAMPLE_TYPES = 64


def read_batch(
    profiles: list[PendingProfile], strings: StringTable, limits: Limits, errors: list[ProfbucketError]
) -> tuple[Batch | None, list[PendingProfile]]:
    """Read *profiles* as one batch. Return it with the profiles in it; ``None`` if there are none.

    Invalid profiles are left out, and their errors are appended to *errors*.
    """
    while profiles:
        try:
            return _read(profiles), profiles
        except NeedsProtobuf as error:
            doubtful = set(error.profiles.tolist())
            profiles = [
                profile
                for i, profile in enumerate(profiles)
                if i not in doubtful or _normalize(profile, strings, limits, errors)
            ]
    return None, []


def _normalize(
    profile: PendingProfile, strings: StringTable, limits: Limits, errors: list[ProfbucketError]
) -> bool:
    """Split *profile* again in the common layout; return False, and append the error, if it is invalid."""
    # Imported here: the process that merges split profiles needs protobuf only for uncommon ones.
    from profbucket.pprof.columnar.split import split_validated

    try:
        split_validated(profile, strings, profile.limits or limits)
    except ProfbucketError as error:
        errors.append(detach(error))  # which would hold the batch
        return False
    return True


def _read(profiles: Sequence[PendingProfile]) -> Batch:
    count = len(profiles)
    is_validated = np.fromiter((profile.is_validated for profile in profiles), bool, count)
    strings = _StringIndexes([profile.string_indexes for profile in profiles])
    encoded = [profile.header for profile in profiles]
    locations: EncodedLocations | None = None
    try:
        locations = read_locations([profile.locations for profile in profiles])
    except UncommonLayout:
        encoded = [profile.header + profile.locations for profile in profiles]
    reader = GenericReader(b"".join(encoded), to_offsets(np.fromiter(map(len, encoded), np.int64, count)))
    header = _read_header(reader, strings, is_validated)
    mappings, mapping_ids = _read_mappings(reader, strings)
    if locations and (reader.count_messages(LOCATION) or reader.count_messages(FUNCTION)):
        raise NeedsProtobuf(np.arange(count))
    locations = locations or _read_any_locations(reader)
    functions, function_ids = _read_functions(locations, strings, count)
    if reader.count_messages(SAMPLE):
        raise NeedsProtobuf(np.arange(count))
    samples = _read_samples(
        [profile.samples for profile in profiles],
        header.sample_type_count,
        IdIndex(count, locations.location_profile, locations.location_id),
        strings,
    )
    return Batch(
        header=header,
        mappings=mappings,
        functions=functions,
        locations=_resolve_locations(locations, mapping_ids, function_ids),
        samples=add_labels(samples, profiles),
    )


class _StringIndexes:
    """From a string's index in its profile to its index in the merge's string table."""

    def __init__(self, tables: Sequence[bytes]) -> None:
        size = np.fromiter(map(len, tables), np.int64, len(tables)) >> 3
        self._bounds = to_offsets(size)
        self._indexes = np.frombuffer(b"".join(tables), np.int64)
        check_rows(flatnonzero(size == 0), np.arange(len(tables)))
        # The first string must be the empty one.
        check_rows(flatnonzero(self._indexes[self._bounds[:-1]] != 0), np.arange(len(tables)))

    def resolve(self, columns: Iterable[Words], profile: Ints) -> Iterator[Ints]:
        """Yield the merge's indexes for each of *columns*, whose row i is from ``profile[i]``."""
        first = self._bounds.take(profile)
        available = (self._bounds.take(profile + 1) - first).view(np.uint64)
        for column in columns:
            if column.any():
                check_rows(flatnonzero(column >= available), profile)
                yield self._indexes.take(first + column.view(np.int64))
            else:
                yield np.zeros(len(column), np.int64)


def _read_header(reader: GenericReader, strings: _StringIndexes, is_validated: Bools) -> HeaderColumns:
    count = reader.count
    all_profiles = np.arange(count)
    fields = reader.messages(PROFILE).fields(
        wire.Profile.DROP_FRAMES,
        wire.Profile.KEEP_FRAMES,
        wire.Profile.DEFAULT_SAMPLE_TYPE,
        wire.Profile.DOC_URL,
        wire.Profile.TIME_NANOS,
        wire.Profile.DURATION_NANOS,
        wire.Profile.PERIOD,
        wire.Profile.COMMENT,
    )
    columns = []
    for row, values in fields[:-1]:
        column = np.zeros(count, np.uint64)
        column[row] = values
        columns.append(column)
    drop_frames, keep_frames, default_sample_type, doc_url = strings.resolve(columns[:4], all_profiles)
    time_nanos, duration_nanos, period = (column.view(np.int64) for column in columns[4:])
    comment_profile, comments = fields[-1]
    [comment] = strings.resolve([comments], comment_profile)

    types = reader.messages(SAMPLE_TYPE)
    sample_types = np.stack([*strings.resolve(types.columns(*wire.ValueType.SCALARS), types.profile)], axis=1)
    sample_type_count = np.bincount(types.profile, minlength=count)
    is_wide = (sample_type_count > _MAX_UNVALIDATED_SAMPLE_TYPES) & ~is_validated
    check_rows(flatnonzero((sample_type_count == 0) | is_wide), all_profiles)
    periods = reader.messages(PERIOD_TYPE)
    # Two period types in one profile are merged field by field; that is left to protobuf.
    check_rows(flatnonzero(np.bincount(periods.profile, minlength=count) > 1), all_profiles)
    period_type = np.zeros((count, 2), np.int64)
    for i, text in enumerate(strings.resolve(periods.columns(*wire.ValueType.SCALARS), periods.profile)):
        period_type[periods.profile, i] = text
    return HeaderColumns(
        drop_frames=drop_frames,
        keep_frames=keep_frames,
        default_sample_type=default_sample_type,
        doc_url=doc_url,
        time_nanos=np.where(time_nanos >= MIN_TIME_NANOS, time_nanos, 0),
        duration_nanos=np.maximum(duration_nanos, 0),
        period=period,
        period_type=period_type,
        sample_type_count=sample_type_count,
        sample_types=sample_types,
        comment=comment,
        comment_profile=comment_profile,
    )


def _read_mappings(reader: GenericReader, strings: _StringIndexes) -> tuple[MappingColumns, IdIndex]:
    mappings = reader.messages(MAPPING)
    ids, start, limit, offset, *texts_and_flags = mappings.columns(*wire.Mapping.SCALARS)
    file, build_id = strings.resolve(texts_and_flags[:2], mappings.profile)
    columns = MappingColumns(
        profile=mappings.profile,
        start=start,
        limit=limit,
        offset=offset,
        file=file,
        build_id=build_id,
        flags=np.stack(texts_and_flags[2:], axis=1) != 0,
    )
    return columns, IdIndex(reader.count, mappings.profile, ids)


def _read_any_locations(reader: GenericReader) -> EncodedLocations:
    """Return locations, lines and functions of any layout."""
    functions, locations, lines = reader.messages(FUNCTION), reader.messages(LOCATION), reader.messages(LINE)
    location_id, mapping_id, address, is_folded = locations.columns(*wire.Location.SCALARS)
    function_id, line, column = lines.columns(*wire.Line.SCALARS)
    return EncodedLocations(
        location_profile=locations.profile,
        location_id=location_id,
        location_mapping_id=mapping_id,
        location_address=address,
        location_is_folded=is_folded != 0,
        line_count=np.bincount(reader.find_parents(LOCATION, LINE), minlength=len(locations)),
        line_profile=lines.profile,
        line_function_id=function_id,
        line_number=line,
        line_column=column,
        function_profile=functions.profile,
        function_columns=functions.columns(*wire.Function.SCALARS),
    )


def _read_functions(
    locations: EncodedLocations, strings: _StringIndexes, count: int
) -> tuple[FunctionColumns, IdIndex]:
    ids, *texts, start_line = locations.function_columns
    index = IdIndex(count, locations.function_profile, ids)
    name, system_name, file = strings.resolve(texts, locations.function_profile)
    return FunctionColumns(name=name, system_name=system_name, file=file, start_line=start_line), index


def _resolve_locations(
    locations: EncodedLocations, mapping_ids: IdIndex, function_ids: IdIndex
) -> LocationColumns:
    mapping = np.full(len(locations.location_profile), -1, np.int64)
    has_mapping = flatnonzero(locations.location_mapping_id)
    mapping[has_mapping] = mapping_ids.find_known_rows(
        locations.location_mapping_id[has_mapping], locations.location_profile[has_mapping]
    )
    return LocationColumns(
        mapping=mapping,
        address=locations.location_address,
        is_folded=locations.location_is_folded,
        line_count=locations.line_count,
        line_function=function_ids.find_rows(locations.line_function_id, locations.line_profile),
        line_number=locations.line_number,
        line_column=locations.line_column,
    )


def _read_samples(
    samples: Sequence[list[bytes]],
    sample_type_count: Ints,
    location_ids: IdIndex,
    strings: _StringIndexes,
) -> SampleColumns:
    try:
        reader = SampleReader(samples, sample_type_count)
    except NeedsProtobuf as error:
        reader = SampleReader(_normalize_samples(samples, error.profiles), sample_type_count)
    stack_first, stack_location = _read_stacks(reader, location_ids)
    key, text, number, unit = reader.label_columns
    label_key, label_text, label_unit = strings.resolve((key, text, unit), reader.profile[reader.label_row])
    return SampleColumns(
        profile=reader.profile,
        values=reader.values,
        stack_first=stack_first,
        stack_count=reader.stack_count,
        stack_location=stack_location,
        label_sample=reader.label_row,
        label_key=label_key,
        label_text=label_text,
        label_number=number,
        label_unit=label_unit,
    )


def _read_stacks(reader: SampleReader, location_ids: IdIndex) -> tuple[Ints, Ints]:
    """Return ``stack_first`` and ``stack_location`` of the samples."""
    profile, count = reader.profile, reader.stack_count
    rows = location_ids.find_dense_rows(*reader.read_short_ids(), profile, reader.stack_first, count)
    if rows is not None:
        return reader.stack_first, rows
    found = location_ids.find_rows(reader.read_ids(), profile, count)
    first = to_offsets(count + 1)[:-1] + 1
    rows = np.zeros(len(found) + len(profile), np.int64)
    rows[expand_ranges(first, count)] = found
    return first, rows


def _normalize_samples(samples: Sequence[list[bytes]], profiles: Ints) -> list[list[bytes]]:
    """Return *samples*, those of *profiles* in the common layout; raise ``NeedsProtobuf`` if some are invalid."""
    from profbucket.pprof.columnar.split import normalize_samples

    normalized = list(samples)
    invalid = []
    for i in profiles.tolist():
        rewritten = normalize_samples(samples[i])
        if rewritten is None:
            invalid.append(i)
        else:
            normalized[i] = rewritten
    check_rows(np.array(invalid, np.int64), np.arange(len(samples)))
    return normalized
