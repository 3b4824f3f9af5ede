"""The merge compared with Go's, and with a plain one."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profbucket.errors import Invalid, ProfbucketError, TooLarge
from profbucket.limits import Limits
from profbucket.pprof import decode, inflate, profile_pb2, wire
from profbucket.pprof import merge as merging
from profbucket.pprof.merge import Merger, merge
from tests.support.canonical import Canonical, assert_compact, canonicalize, list_mappings
from tests.support.go_tool import GoPprof
from tests.support.paths import CORPUS, DATA
from tests.support.plain_merge import Merger as PlainMerger
from tests.support.plain_merge import merge as plain_merge
from tests.support.profiles import (
    Function,
    Label,
    Line,
    Location,
    Mapping,
    Profile,
    Sample,
    Style,
    encode,
    function,
    go_styles,
    mixed_profile_sets,
    profile,
    profile_sets,
    stack,
    styles,
)
from tests.support.property_tests import examples

GoMerge = Callable[[list[Path]], bytes]
MixedSet = list[tuple[Profile, Style]]


@pytest.fixture(scope="session")
def go_merge(go_pprof: GoPprof, tmp_path_factory: pytest.TempPathFactory) -> GoMerge:
    """Return a function that merges files with ``go tool pprof -proto``."""
    out = tmp_path_factory.mktemp("merged") / "merged.pb.gz"

    def merge_files(files: list[Path]) -> bytes:
        go_pprof("-proto", "-symbolize=none", f"-output={out}", *files).check()
        return out.read_bytes()

    return merge_files


@pytest.fixture(scope="session")
def corpus() -> list[Path]:
    files = sorted(CORPUS.glob("*.pb.gz"))
    if not files:
        pytest.skip("the corpus of Go CPU profiles is missing: see tests/support/paths.py")
    return files


# Two groups by the frames to drop: the order of all profiles decides how units are spelled.
EQUAL_UNITS = [
    profile(
        Sample(stack("a"), (1,)),
        sample_types=((b"t0", unit),),
        period_type=(b"cpu", period_unit),
        drop_frames=drop_frames,
    )
    for unit, period_unit, drop_frames in (
        (b"kB", b"s", b""),
        (b"B", b"ns", b"g"),
        (b"bytes", b"nanoseconds", b""),
    )
]


@st.composite
def mixed_sets(draw: Callable[..., Any]) -> MixedSet:
    """Generate profiles with different sample types and period types, and the encoder of each."""
    periods = st.sampled_from([(b"cpu", b"ns"), (b"cpu", b"s"), (b"wall", b"ns"), (b"", b"")])
    contents = draw(mixed_profile_sets())
    return [(replace(content, period_type=draw(periods)), draw(styles)) for content in contents]


def write_files(directory: Path, profiles: list[bytes]) -> list[Path]:
    files = [directory / f"{i}.pb.gz" for i in range(len(profiles))]
    for file, data in zip(files, profiles, strict=True):
        file.write_bytes(data)
    return files


def read_files(files: list[Path]) -> list[bytes]:
    return [file.read_bytes() for file in files]


def assert_same(ours: Canonical, theirs: Canonical) -> None:
    # In parts, so that a difference in one sample of thousands is readable.
    assert ours.header == theirs.header
    assert ours.samples.keys() == theirs.samples.keys()
    assert {k: (v, theirs.samples[k]) for k, v in ours.samples.items() if v != theirs.samples[k]} == {}


class TestAgainstGo:
    """Merges equal those of ``go tool pprof -proto``."""

    @pytest.mark.parametrize(
        "pattern",
        [
            "shop-*/cpu-[123].pb.gz",
            "shop-*/heap-*.pb.gz",
            "shop-*/goroutine-*.pb.gz",
            "shop-*/mutex-*.pb.gz",
            "shop-*/block-*.pb.gz",
            "shop-*/threadcreate-*.pb.gz",
            "shop-*/cpu-*.pb.gz",
            "python/python-cpu.pb.gz",
            "python/python-heap.pb",
        ],
    )
    def test_profiles_of_the_test_programs_merge_as_in_go(self, go_merge: GoMerge, pattern: str) -> None:
        files = sorted(DATA.glob(pattern))
        files = files * 2 if len(files) == 1 else files
        merged = merge(read_files(files))
        assert_same(canonicalize(merged), canonicalize(go_merge(files)))
        assert_compact(merged)

    def test_the_whole_corpus_merges_as_in_go(self, go_merge: GoMerge, corpus: list[Path]) -> None:
        merged = merge(read_files(corpus))
        assert_same(canonicalize(merged), canonicalize(go_merge(corpus)))
        assert_compact(merged)

    def test_profiles_without_samples_add_their_duration_as_in_go(
        self, go_merge: GoMerge, corpus: list[Path]
    ) -> None:
        empty = [file for file in corpus if not canonicalize(file.read_bytes()).samples]
        assert len(empty) == 29
        assert_same(canonicalize(merge(read_files(empty))), canonicalize(go_merge(empty)))

    @pytest.mark.hypothesis  # so that soaks select it
    def test_profiles_of_other_encoders_merge_as_in_go(self, go_merge: GoMerge, tmp_path: Path) -> None:
        # Few examples: one run of Go takes as long as hundreds of merges.
        @examples(25)
        @given(profile_sets(columns=False, headers=False), st.data())
        def check(contents: list[Profile], data: st.DataObject) -> None:
            profiles = [encode(content, data.draw(go_styles)) for content in contents]
            theirs = canonicalize(go_merge(write_files(tmp_path, profiles)))
            # Go passes a single profile on unchanged, with zeros and repeated comments.
            header = replace(theirs.header, comments=tuple(dict.fromkeys(theirs.header.comments)))
            theirs = Canonical(header, {k: v for k, v in theirs.samples.items() if any(v)})
            assert_same(canonicalize(merge(profiles)), theirs)

        check()

    def test_the_order_of_profiles_changes_nothing(self, go_merge: GoMerge, corpus: list[Path]) -> None:
        shuffled = random.Random(4).sample(corpus, len(corpus))
        merged = canonicalize(merge(read_files(shuffled)))
        assert_same(merged, canonicalize(go_merge(shuffled)))
        assert_same(merged, canonicalize(merge(read_files(corpus))))

    def test_a_merge_of_merges_is_the_merge_of_all(self, go_merge: GoMerge, corpus: list[Path]) -> None:
        choice = random.Random(4)
        parts: list[list[Path]] = [[] for _ in range(9)]
        for file in corpus:
            choice.choice(parts).append(file)
        two_steps = merge([merge(read_files(part)) for part in parts])
        assert_same(canonicalize(two_steps), canonicalize(go_merge(corpus)))
        assert_compact(two_steps)

    @pytest.mark.hypothesis
    def test_profiles_whose_sample_types_differ_merge_as_in_go(self, go_merge: GoMerge, tmp_path: Path) -> None:
        @examples(40)
        @given(mixed_profile_sets(headers=False).filter(lambda contents: len(contents) > 1))
        @example(EQUAL_UNITS)
        def check(contents: list[Profile]) -> None:
            profiles = [encode(content) for content in contents]
            ours, theirs = merge(profiles), go_merge(write_files(tmp_path, profiles))
            # Go sets the first common sample type as the default of profiles that have none.
            headers = [replace(canonicalize(data).header, default_sample_type=b"") for data in (ours, theirs)]
            assert headers[0] == headers[1]
            assert canonicalize(ours).samples == canonicalize(theirs).samples

        check()


class TestAgainstThePlainMerge:
    """Merges equal those of ``plain_merge``, which uses dictionaries keyed by content."""

    @examples(40)
    @given(profile_sets(), st.data())
    def test_profiles_of_any_encoder_merge_alike(self, contents: list[Profile], data: st.DataObject) -> None:
        profiles = [encode(content, data.draw(styles)) for content in contents]
        with pytest.MonkeyPatch.context() as patch:
            # Many batches must give the same as one.
            patch.setattr(merging, "_BATCH_BYTES", data.draw(st.sampled_from([1, 600, 1 << 20])))
            merged = merge(profiles, ["from a test"])
        plain = plain_merge(profiles, ["from a test"])
        assert_same(canonicalize(merged), canonicalize(plain))
        assert_compact(merged)
        mappings, expected = list_mappings(merged), list_mappings(plain)
        if len({(content.drop_frames, content.keep_frames) for content in contents}) > 1:
            # Merged apart first, each without what no sample uses: a lower load address may be lost.
            assert mappings.keys() <= expected.keys()
        else:
            assert mappings.items() <= expected.items()

    @examples(30)
    @given(mixed_sets(), st.sampled_from([1, 600, 1 << 20]))
    @example([(content, Style()) for content in EQUAL_UNITS], 1)
    @example([(content, Style()) for content in EQUAL_UNITS], 1 << 20)
    def test_profiles_whose_sample_types_differ_merge_alike(self, mixed: MixedSet, batch_bytes: int) -> None:
        profiles = [encode(content, style) for content, style in mixed]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(merging, "_BATCH_BYTES", batch_bytes)
            merged = merge(profiles)
        assert_same(canonicalize(merged), canonicalize(plain_merge(profiles)))

    @examples(25)
    @given(profile_sets(), st.randoms(use_true_random=False))
    def test_order_and_partition_change_only_strings_of_the_header(
        self, contents: list[Profile], choice: random.Random
    ) -> None:
        profiles = [encode(content) for content in contents]
        samples = canonicalize(merge(profiles)).samples
        choice.shuffle(profiles)
        assert canonicalize(merge(profiles)).samples == samples
        cut = choice.randrange(len(profiles) + 1)
        halves = [merge(half) for half in (profiles[:cut], profiles[cut:]) if half]
        assert canonicalize(merge(halves)).samples == samples

    @pytest.mark.parametrize("label", [Label(b"key"), Label(b"")], ids=["key", "empty"])
    @pytest.mark.parametrize("location", [(), stack("main")], ids=["no stack", "stack"])
    def test_a_label_without_a_value_ends_before_the_next_sample(
        self, label: Label, location: tuple[Location, ...]
    ) -> None:
        """The next sample, of another profile, begins with the tag of a field that the label does not have."""
        data = encode(profile(Sample(location, (1, 2), (label,))))
        assert_same(canonicalize(merge([data, data])), canonicalize(plain_merge([data, data])))

    @pytest.mark.parametrize("seed", range(6))
    def test_mutated_profiles_are_rejected_or_merged_alike(self, seed: int) -> None:
        choice = random.Random(seed)
        sources = [inflate(file.read_bytes()) for file in sorted(DATA.glob("*/*.pb*"))]
        sources = [raw for raw in sources if len(raw) < 20_000]
        for style in (Style(), Style(packed="always"), Style(ids="sparse"), Style(shuffled_fields=True)):
            sources += [inflate(encode(LABELLED, style))] * 3
        rejected = 0
        for _ in range(60):
            group = [mutate(choice.choice(sources), choice) for _ in range(choice.choice([1, 2, 4]))]
            ours, errors = merge_valid(Merger(), group)
            theirs, expected = merge_valid(PlainMerger(), group)
            assert sorted(errors) == sorted(expected)
            assert (ours and canonicalize(ours)) == (theirs and canonicalize(theirs))
            rejected += len(errors)
        assert rejected, "no mutation made a profile invalid"


LABELLED = profile(
    Sample(stack("a", "b"), (1, 2)),
    Sample(stack("a", "c", "b"), (5, 0), (Label(b"k", b"v"), Label(b"n", number=4, unit=b"bytes"))),
)


def mutate(raw: bytes, choice: random.Random) -> bytes:
    """Return *raw* with up to three random changes."""
    data = bytearray(raw)
    for _ in range(choice.choice([0, 1, 1, 3])):
        at = choice.randrange(len(data))
        match choice.randrange(5):
            case 0:
                data[at] ^= 1 << choice.randrange(8)
            case 1:
                data[at] = choice.choice([0x22, 0x2A, 0x12, 0x08, 0x10, 0x32, 0, 0x7F, 0x80, 0xFF])
            case 2:
                del data[at : at + choice.choice([1, 2, 10])]
            case 3:
                data[at:at] = choice.randbytes(choice.choice([1, 2, 8]))
            case 4:
                data[at:at] = data[choice.randrange(len(data)) :][: choice.randrange(40)]
        data = data or bytearray(raw)
    return bytes(data)


def merge_valid(merger: Merger | PlainMerger, profiles: list[bytes]) -> tuple[bytes | None, list[str]]:
    """Return the merge of the valid *profiles*, if any, and the names of the errors of the others."""
    errors = []
    for data in profiles:
        try:
            merger.add(data)
        except ProfbucketError as error:
            errors.append(type(error).__name__)
    while True:
        try:
            return merger.result(), errors
        except ProfbucketError as error:
            if error.code == "nothing_to_merge":
                return None, errors
            errors.append(type(error).__name__)


# Statements that make a valid profile p invalid.
INVALID = [
    "p.location[0].id = 0",
    "p.location[1].id = p.location[0].id",
    "p.location[0].line[0].function_id = 0",
    "p.location[0].line[0].function_id = 99",
    "p.function[0].id = 0",
    "p.function[1].id = p.function[0].id",
    "p.function[0].name = 999",
    "p.function[0].system_name = -1",
    "p.function[0].filename = 2**62",
    "p.mapping.add(id=0)",
    "p.mapping.add(id=3); p.mapping.add(id=3)",
    "p.mapping.add(id=3, filename=999)",
    "p.mapping.add(id=3, build_id=-1)",
    "p.sample[0].location_id.append(99)",
    "p.sample[0].location_id.append(0)",
    "p.sample[0].location_id.append(2**64 - 1)",
    "p.sample[0].value.append(1)",
    "p.sample[1].ClearField('value')",
    "p.sample[1].label[0].key = 999",
    "p.sample[1].label[0].str = -1",
    "p.sample[1].label[1].num_unit = 999",
    "p.sample_type[0].type = 999",
    "p.sample_type[0].unit = -1",
    "p.ClearField('sample_type')",
    "p.period_type.unit = 999",
    "p.comment.append(999)",
    "p.drop_frames = 999",
    "p.default_sample_type = -1",
    "p.ClearField('string_table')",
    "p.string_table[0] = b'x'",
]


def test_values_wrap_when_they_are_scaled_by_more_than_64_bits() -> None:
    """Some units that pprof knows differ by a factor of 10**24; a period is saturated instead."""
    profiles = [
        encode(
            profile(
                Sample(stack("a"), (value,)), sample_types=((b"t0", unit),), period_type=(b"p", unit), period=value
            )
        )
        for value, unit in ((2**40 + 1, b"petagcu"), (3, b"nanogcu"))
    ]
    for ordered in permutations(profiles):
        merged = canonicalize(merge(ordered))
        assert_same(merged, canonicalize(plain_merge(ordered)))
        assert merged.header.period == 2**63 - 1


class TestErrors:
    OTHER = profile(
        Sample(stack("a"), (1,)), sample_types=((b"inuse_space", b"bytes"),), period_type=(b"space", b"bytes")
    )

    @pytest.mark.parametrize(
        ("types", "text"),
        [
            ([(b"t%d" % i, b"u") for i in range(65)], "the profile has 65 sample types"),
            ([(b"t" * 2048, b"u" * 2049)], "the names of the sample types have 4097 bytes"),
            ([(b"\xff" * 1366, b"")], "the names of the sample types have 4098 bytes"),
        ],
    )
    def test_limits_of_sample_types_hold_although_all_profiles_agree(
        self, types: list[tuple[bytes, bytes]], text: str
    ) -> None:
        data = encode(profile(Sample(stack("a"), (1,) * len(types)), sample_types=tuple(types)))
        with pytest.raises((Invalid, TooLarge), match=text):
            merge([data, data])

    def test_sample_types_within_the_limits_are_merged(self) -> None:
        for types in (
            [(b"t%d" % i, b"u") for i in range(64)],
            [(b"t" * 2048, b"u" * 2048)],
            [(b"\xff" * 1365, b"")],
        ):
            data = encode(profile(Sample(stack("a"), (1,) * len(types)), sample_types=tuple(types)))
            assert canonicalize(merge([data, data])).header.sample_types == tuple(types)

    def test_profiles_without_a_common_sample_type_are_rejected_with_the_names_of_both(self) -> None:
        merger = Merger()
        merger.add(encode(LABELLED), "first")
        merger.add(encode(self.OTHER), "second")
        with pytest.raises(Invalid, match=r"^second: .*cpu/nanoseconds.*inuse_space/bytes") as caught:
            merger.result()
        assert caught.value.code == "sample_types_differ"

    def test_the_profile_that_an_error_names_is_left_out_and_all_others_are_merged(self) -> None:
        broken = encode(Profile(samples=(Sample(stack("x"), (1,)),)))  # one value for two types
        merger = Merger()
        for name, data in [("a", encode(LABELLED)), ("b", broken), ("c", encode(LABELLED)), ("d", broken)]:
            merger.add(data, name)
        with pytest.raises(Invalid, match=r"^b: sample 0 has 1 values for 2 sample types"):
            merger.result()
        with pytest.raises(Invalid, match=r"^d: "):
            merger.result()
        assert canonicalize(merger.result()) == canonicalize(merge([encode(LABELLED)] * 2))

    @pytest.mark.parametrize("packed", ["always", "never"])
    @pytest.mark.parametrize("value", [1, 2**40])
    @pytest.mark.parametrize("given", [0, 1, 59])
    def test_missing_values_of_the_last_sample_are_not_read_behind_the_end(
        self, packed: str, value: int, given: int
    ) -> None:
        types = tuple((b"t%d" % i, b"") for i in range(60))
        samples = [Sample(stack("x"), (value,) * count) for count in (60, 60, given)]
        data = encode(profile(*samples, sample_types=types), Style(packed=packed))
        with pytest.raises(Invalid, match=f"sample 2 has {given} values for 60 sample types"):
            merge([data], limits=Limits(sample_types=60))

    @pytest.mark.parametrize(
        "field", ["0a", "0aff", "0affffffff", "08", "12", "10", "1a", "1a01", "1a0108", "1affffffff"]
    )
    @pytest.mark.parametrize("is_last", [False, True], ids=["first", "last"])
    def test_a_sample_that_ends_within_a_field_is_rejected(self, field: str, is_last: bool) -> None:
        """The missing bytes are not those of the next sample, or those behind the last one."""
        message = profile_pb2.Profile(string_table=[b"", b"cpu"], sample_type=[{"type": 1}])
        samples = [
            wire.encode_delimited(wire.Profile.SAMPLE, b"\x10\x05" + rest) for rest in (b"", bytes.fromhex(field))
        ]
        data = message.SerializeToString() + b"".join(samples if is_last else reversed(samples))
        with pytest.raises(Invalid):
            merge([data])

    def test_the_first_valid_profile_decides_the_sample_types(self) -> None:
        merger = Merger()
        merger.add(encode(profile(Sample(stack("x"), (1, 2)), sample_types=((b"a", b"b"),))), "bad")
        merger.add(encode(self.OTHER), "good")
        with pytest.raises(Invalid, match=r"^bad: "):
            merger.result()
        assert canonicalize(merger.result()).header.sample_types == ((b"inuse_space", b"bytes"),)

    @pytest.mark.parametrize("data", [b"", b"nonsense", b"\x1f\x8b", b"\x0a\xff\xff\xff\xff\x7f"])
    def test_bytes_that_are_no_profile_are_rejected_at_once_with_their_name(self, data: bytes) -> None:
        with pytest.raises(Invalid, match=r"^thing: "):
            Merger().add(data, "thing")

    @pytest.mark.parametrize("wrong", INVALID)
    def test_what_is_invalid_is_refused_in_the_words_of_decode(self, wrong: str) -> None:
        message = profile_pb2.Profile.FromString(inflate(encode(LABELLED)))
        exec(wrong, {"p": message})
        data = message.SerializeToString()
        with pytest.raises(Invalid) as plainly:
            decode(data)
        merger = Merger()
        merger.add(encode(LABELLED), "good")

        def finish() -> None:
            merger.add(data, "bad")
            merger.result()

        with pytest.raises(Invalid) as error:
            finish()
        assert str(error.value) == f"bad: {plainly.value}"
        assert canonicalize(merger.result()) == canonicalize(encode(LABELLED))

    def test_a_merge_needs_a_profile(self) -> None:
        with pytest.raises(Invalid) as caught:
            Merger().result()
        assert caught.value.code == "nothing_to_merge"

    def test_a_profile_that_exceeds_a_limit_is_rejected_with_its_name(self) -> None:
        with pytest.raises(TooLarge, match=r"^thing: ") as caught:
            Merger(Limits(inflated_bytes=40)).add(encode(LABELLED), "thing")
        assert caught.value.code == "max_inflated_bytes_exceeded"

    def test_a_large_profile_of_tiny_entries_is_rejected_before_it_takes_memory(self) -> None:
        swollen = encode(LABELLED, Style(gzip=False)) + b"\x32\x00" * 3_000_000
        with pytest.raises(TooLarge) as caught:
            Merger(Limits(entries=1_000_000)).add(swollen)
        assert caught.value.code == "max_entries_exceeded"


class TestSampleTypes:
    """The sample types of a merge whose profiles have different ones, and what it says about the others."""

    CPU = encode(profile(Sample(stack("a"), (1, 20))))
    WALL = encode(
        profile(
            Sample(stack("a"), (2, 5, 7)),
            Sample(stack("idle"), (0, 9, 0)),
            sample_types=((b"samples", b"count"), (b"wall", b"ms"), (b"cpu", b"microseconds")),
            default_sample_type=b"wall",
        )
    )

    def test_the_comment_names_what_is_left_out_and_who_lacks_it(self) -> None:
        merger = Merger()
        for name, data in (("one", self.CPU), ("two", self.WALL), ("three", self.CPU)):
            merger.add(data, name)
        assert merger.describe_left_out() == "; left out: wall (missing in 2 of 3 objects, such as one)"
        merged = canonicalize(merger.result())
        assert merged.header.sample_types == ((b"samples", b"count"), (b"cpu", b"nanoseconds"))
        assert list(merged.samples.values()) == [(4, 7040)]

    def test_the_default_is_the_first_sample_type_if_the_profiles_default_is_left_out(self) -> None:
        assert canonicalize(merge([self.WALL, self.CPU])).header.default_sample_type == b"samples"
        assert canonicalize(merge([self.WALL, self.WALL])).header.default_sample_type == b"wall"

    def test_units_that_cannot_be_converted_leave_a_sample_type_out(self) -> None:
        other = encode(
            profile(Sample(stack("a"), (1, 1)), sample_types=((b"samples", b"count"), (b"cpu", b"bytes")))
        )
        merger = Merger()
        merger.add(self.CPU, "one")
        merger.add(other, "two")
        assert merger.describe_left_out() == "; left out: cpu (units differ)"
        assert canonicalize(merger.result()).header.sample_types == ((b"samples", b"count"),)

    def test_a_name_that_a_profile_has_twice_is_common_only_to_profiles_with_equal_types(
        self, go_merge: GoMerge, tmp_path: Path
    ) -> None:
        types = ((b"a", b"count"), (b"a", b"bytes"), (b"b", b"count"))
        twice = encode(profile(Sample(stack("f"), (3, 100, 7)), sample_types=types))
        once = encode(profile(Sample(stack("f"), (50, 1)), sample_types=types[1:]))
        assert list(canonicalize(merge([twice, twice])).samples.values()) == [(6, 200, 14)]
        for profiles in ([twice, once], [once, twice], [twice, twice, once]):
            ours = canonicalize(merge(profiles))
            assert ours.header.sample_types == ((b"b", b"count"),)
            assert ours.samples == canonicalize(plain_merge(profiles)).samples
        theirs = canonicalize(go_merge(write_files(tmp_path, [once, twice])))
        assert theirs.header.sample_types == ((b"b", b"count"),)
        assert theirs.samples == canonicalize(merge([once, twice])).samples

    def test_period_types_that_differ_are_left_out(self) -> None:
        other = encode(profile(Sample(stack("a"), (1, 2)), period_type=(b"wall", b"seconds"), period=10**9))
        for profiles in ([self.CPU, other], [other, self.CPU], [self.CPU, other, self.CPU]):
            header = canonicalize(merge(profiles)).header
            assert (header.period_type, header.period) == ((b"", b""), 0)

    def test_a_period_that_is_too_large_in_the_finest_unit_saturates(self) -> None:
        periods = (2**62, b"seconds"), (7, b"ms"), (5, b"nanoseconds")
        profiles = [
            encode(profile(Sample(stack("a"), (1, 2)), period_type=(b"cpu", unit), period=period))
            for period, unit in periods
        ]
        for order in permutations(profiles):
            header = canonicalize(merge(order)).header
            assert (header.period_type, header.period) == ((b"cpu", b"nanoseconds"), 2**63 - 1)

    def test_one_sample_type_is_merged_of_the_profiles_that_have_it(self) -> None:
        merger = Merger(sample_type="wall")
        for name, data in (("one", self.CPU), ("two", self.WALL), ("three", self.WALL)):
            merger.add(data, name)
        assert merger.describe_left_out() == "; left out: 1 of 3 objects without wall, such as one"
        merged = canonicalize(merger.result())
        assert merged.header.sample_types == ((b"wall", b"ms"),)
        assert sorted(merged.samples.values()) == [(10,), (18,)]

    def test_a_sample_type_that_no_profile_has_is_an_error_with_those_that_they_have(self) -> None:
        merger = Merger(sample_type="alloc")
        merger.add(self.CPU)
        with pytest.raises(Invalid, match=r"'alloc'.*samples, cpu") as caught:
            merger.result()
        assert caught.value.code == "unknown_sample_type"

    def test_many_sets_of_sample_types_take_bounded_memory_and_a_short_comment(self) -> None:
        merger = Merger()
        for i in range(300):
            types = ((b"samples", b"count"), *((b"%d-%d-%s" % (i, j, b"x" * 70), b"count") for j in range(3)))
            merger.add(encode(profile(Sample(stack("a"), (1,) * 4), sample_types=types)), f"p{i}")
        comment = merger.describe_left_out()
        assert len(comment) < 2000
        assert comment.endswith(" more")
        assert list(canonicalize(merger.result()).samples.values()) == [(300,)]


class TestContent:
    def test_a_stack_of_two_thousand_frames_is_kept(self) -> None:
        deep = profile(Sample(stack(*(f"f{i % 700}" for i in range(2000))), (1, 2)))
        merged = canonicalize(merge([encode(deep), encode(deep, Style(packed="never"))]))
        [(key, values)] = merged.samples.items()
        assert [place.frames[0].name for place in key[0]] == [b"f%d" % (i % 700) for i in range(2000)]
        assert values == (2, 4)

    def test_addresses_are_relative_to_their_mapping(self) -> None:
        locations = [
            Location(Mapping(base, base + 0x5000, 0, b"/lib/x.so", b"id"), base + 0x123)
            for base in (0x1000, 0x9000)
        ]
        merged = merge([encode(profile(Sample((location,), (1, 1)))) for location in locations])
        [location] = decode(merged).message.location
        assert (location.address, len(location.line)) == (0x1123, 0)
        [(start, limit, *_)] = list_mappings(merged).values()
        assert (start, limit) == (0x1000, 0x6000)

    def test_samples_that_add_up_to_zero_are_dropped_with_their_functions(self) -> None:
        plus = profile(Sample(stack("gone"), (3, -4)), Sample(stack("stays"), (1, 0)))
        minus = profile(Sample(stack("gone"), (-3, 4)))
        merged = merge([encode(plus), encode(minus)])
        assert [place.frames[0].name for key in canonicalize(merged).samples for place in key[0]] == [b"stays"]
        assert b"gone" not in decode(merged).message.string_table

    def test_labels_keep_samples_apart_whatever_the_order_of_their_keys(self) -> None:
        a, b = Label(b"a", b"1"), Label(b"b", number=2, unit=b"bytes")
        merged = merge([encode(profile(Sample(stack("f"), (1, 1), tags))) for tags in ((a, b), (b, a), (a,), ())])
        assert sorted(values[0] for values in canonicalize(merged).samples.values()) == [1, 1, 2]
        assert_compact(merged)

    def test_the_order_of_the_values_of_a_key_keeps_samples_apart(self) -> None:
        first, second = Label(b"k", b"1"), Label(b"k", b"2")
        merged = merge(
            [encode(profile(Sample(stack("f"), (1, 1), tags))) for tags in ((first, second), (second, first))]
        )
        assert len(canonicalize(merged).samples) == 2

    def test_a_column_keeps_lines_apart(self) -> None:
        f = function("f")
        locations = [Location(lines=(Line(f, 3, column), Line(f, 9))) for column in (1, 2)]
        merged = merge([encode(profile(*(Sample((location,), (1, 1)) for location in locations)))])
        assert len(canonicalize(merged).samples) == 2

    def test_one_line_and_a_list_of_lines_are_kept_apart(self) -> None:
        f, g = Function(b"f"), Function(b"g")
        shapes = [(), (Line(f),), (Line(g),), (Line(f), Line(f)), (Line(f), Line(g)), (Line(f), Line(g), Line(f))]
        content = profile(*(Sample((Location(lines=lines),), (i + 1, 0)) for i, lines in enumerate(shapes)))
        merged = canonicalize(merge([encode(content)] * 2))
        assert {tuple(n.name for n in key[0][0].frames): v[0] for key, v in merged.samples.items()} == {
            tuple(line.function.name for line in lines): 2 * (i + 1) for i, lines in enumerate(shapes)
        }

    def test_lines_beyond_32_bits_are_not_mistaken_for_those_of_other_functions(self) -> None:
        functions = [Function(b"f%d" % i) for i in range(4)]
        lines: list[tuple[Line, ...]] = [
            (Line(f, n),) for f in functions for n in (5, 2**32 + 5, 2**33 + 5, 2**63 - 1)
        ]
        lines += [(*lines[0], *more) for more in lines]
        samples = [Sample((Location(lines=location_lines),), (i + 1, 0)) for i, location_lines in enumerate(lines)]
        content = profile(*samples)
        merged = merge([encode(content)] * 2)
        assert_same(canonicalize(merged), canonicalize(plain_merge([encode(content)] * 2)))
        assert_compact(merged)

    def test_ids_of_three_bytes_are_read(self) -> None:
        message = profile_pb2.Profile.FromString(inflate(encode(LABELLED)))
        for i in range(len(message.location) + 1, 34_001):
            message.location.add(id=i, address=i)
        for ids in ((20_000, 34_000, 1), (16_383, 16_384, 16_385), (20_001,), (20_000, 20_001)):
            message.sample.add(location_id=ids, value=(1, 2))
        profiles = [message.SerializeToString(), encode(LABELLED)]
        assert_same(canonicalize(merge(profiles)), canonicalize(plain_merge(profiles)))

    @pytest.mark.parametrize("count", [1, 8, 9, 200])
    def test_a_sample_may_have_any_number_of_labels(self, count: int) -> None:
        labels = tuple(Label(b"k%d" % (i % 7), b"v%d" % i) for i in range(count))
        profiles = [encode(profile(Sample(stack("a"), (1, 2), labels), Sample(stack("a"), (3, 4))))] * 2
        assert_same(canonicalize(merge(profiles)), canonicalize(plain_merge(profiles)))

    def test_a_hundred_values_a_sample_are_merged_if_the_limit_allows_them(self) -> None:
        wide = profile(
            Sample(stack("a"), tuple(range(100))), sample_types=tuple((b"%d" % i, b"") for i in range(100))
        )
        limits = Limits(sample_types=100)
        [sample] = decode(merge([encode(wide)] * 2, limits=limits), limits).message.sample
        assert sample.value == list(range(0, 200, 2))
        with pytest.raises(TooLarge) as caught:
            merge([encode(wide)] * 2)
        assert caught.value.code == "max_sample_types_exceeded"

    def test_values_wrap_at_64_bits_as_they_do_in_go(self) -> None:
        large = profile(Sample(stack("f"), (2**63 - 1, 1)))
        [values] = canonicalize(merge([encode(large)] * 3)).samples.values()
        assert values == (3 * (2**63 - 1) - 2**64, 3)

    def test_the_program_itself_remains_the_first_mapping(self) -> None:
        program, library = Mapping(0x1000, 0x2000, 0, b"/bin/p"), Mapping(0x8000, 0x9000, 0, b"/lib/a.so")
        content = profile(
            Sample((Location(program, 0x1001),), (1, 1)), Sample((Location(library, 0x8001),), (1, 1))
        )
        message = decode(merge([encode(content)] * 2)).message
        assert message.string_table[message.mapping[0].filename] == b"/bin/p"

    def test_equal_profiles_give_equal_bytes(self) -> None:
        profiles = [encode(LABELLED), *(encode(LABELLED, Style(ids="sparse", seed=i)) for i in range(5))]
        assert merge(profiles) == merge(profiles)
