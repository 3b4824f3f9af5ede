"""Split a profile whose sample types measure different things into one profile for each profile type."""

from collections.abc import Iterable, Sequence

from profbucket.model.profile_type import ProfileType
from profbucket.pprof import profile_pb2
from profbucket.pprof.codec import Profile, encode
from profbucket.pprof.numbers import wrap_int64


def split_profile(profile: Profile, profile_types: Sequence[ProfileType | None]) -> dict[ProfileType, bytes]:
    """Return a gzip pprof for each of *profile_types*, which has one item for each sample type of *profile*.

    The sample types of ``None`` are left out, as are samples without values and profiles without samples. Samples
    with equal stacks and labels are added up. Equal profiles give equal bytes.
    """
    columns: dict[ProfileType, list[int]] = {}
    for column, profile_type in enumerate(profile_types):
        if profile_type is not None:
            columns.setdefault(profile_type, []).append(column)
    parts = {name: _Extract(profile.message, numbers).message for name, numbers in columns.items()}
    return {profile_type: encode(part) for profile_type, part in parts.items() if part.sample}


class _Extract:
    """The part of *source* that belongs to *columns*; ``message`` holds nothing that its samples do not use."""

    def __init__(self, source: profile_pb2.Profile, columns: Sequence[int]) -> None:
        self._source = source
        self._strings = {0: 0}  # numbers of strings, by those in the source
        self.message = profile_pb2.Profile(
            time_nanos=source.time_nanos, duration_nanos=source.duration_nanos, string_table=[b""]
        )
        for column in columns:
            sample_type = source.sample_type[column]
            self.message.sample_type.add(type=self._string(sample_type.type), unit=self._string(sample_type.unit))
        self._copy_samples(columns)
        self._copy_period(columns)
        if source.default_sample_type in [source.sample_type[column].type for column in columns]:
            self.message.default_sample_type = self._string(source.default_sample_type)
        self._copy_locations()
        self.message.drop_frames = self._string(source.drop_frames)
        self.message.keep_frames = self._string(source.keep_frames)
        self.message.doc_url = self._string(source.doc_url)
        self.message.comment.extend(map(self._string, source.comment))

    def _string(self, number: int) -> int:
        if number not in self._strings:
            self._strings[number] = len(self._strings)
            self.message.string_table.append(self._source.string_table[number])
        return self._strings[number]

    def _copy_samples(self, columns: Sequence[int]) -> None:
        samples: dict[tuple[object, ...], profile_pb2.Sample] = {}
        for source in self._source.sample:
            values = [source.value[column] for column in columns]
            if not any(values):
                continue
            key = (*source.location_id, *(label.SerializeToString() for label in source.label))
            sample = samples.get(key)
            if sample is None:
                samples[key] = sample = self.message.sample.add(location_id=source.location_id, value=values)
                for label in source.label:
                    sample.label.add(
                        key=self._string(label.key),
                        str=self._string(label.str),
                        num=label.num,
                        num_unit=self._string(label.num_unit),
                    )
            else:
                sample.value[:] = [wrap_int64(a + b) for a, b in zip(sample.value, values, strict=True)]

    def _copy_period(self, columns: Sequence[int]) -> None:
        """Copy the period, unless it is that of a sample type which is left out."""
        period_type, sample_types = self._source.period_type, list(self._source.sample_type)
        if period_type not in sample_types or period_type in [sample_types[column] for column in columns]:
            self.message.period = self._source.period
            self.message.period_type.type = self._string(period_type.type)
            self.message.period_type.unit = self._string(period_type.unit)

    def _copy_locations(self) -> None:
        used = _ids(number for sample in self.message.sample for number in sample.location_id)
        locations = [location for location in self._source.location if location.id in used]
        self.message.location.extend(locations)
        used = _ids(line.function_id for location in locations for line in location.line)
        for function in self._source.function:
            if function.id in used:
                self.message.function.add(
                    id=function.id,
                    name=self._string(function.name),
                    system_name=self._string(function.system_name),
                    filename=self._string(function.filename),
                    start_line=function.start_line,
                )
        used = _ids(location.mapping_id for location in locations)
        for number, mapping in enumerate(self._source.mapping):
            if number == 0 or mapping.id in used:  # the first one is the program
                copy = self.message.mapping.add()
                copy.CopyFrom(mapping)
                copy.filename = self._string(mapping.filename)
                copy.build_id = self._string(mapping.build_id)


def _ids(numbers: Iterable[int]) -> frozenset[int]:
    return frozenset(numbers)
