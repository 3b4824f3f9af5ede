"""Acceptance suite of every bucket. Subclasses define the fixture ``bucket``, an empty one."""

import gzip
import string
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profbucket.errors import Damaged, NotFound
from profbucket.storage.ports import Bucket, ObjectRange

# Sorted by bytes. Sorting by segments, ignoring case, or by a locale gives another order.
KEYS = [
    "-dash/cpu/1",
    "API/cpu/1",
    "_/blocks/1",
    "api-v2/cpu/1",
    "api.v2/cpu/1",
    "api/cpu/1",
    "api/cpu/10",
    "api/cpu/2",
    "api/cpu0",
    "api/heap/1",
    "api0/cpu/1",
    "api_/cpu/1",
    "apiary/cpu/1",
    "api~2F/cpu/1",
    "b",
    "~C3~A9/cpu/1",
]
SEGMENTS = st.sampled_from(["a", "a-", "a.", "a0", "aa", "a~", "A", "_", "~", "-", "0", "b"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
DEEP_KEYS = st.lists(SEGMENTS, min_size=3, max_size=3).map(
    "/".join
)  # no key is a prefix of another: no file system can store both


def list_keys(bucket: Bucket, start: str, end: str) -> list[str]:
    return [obj.key for obj in bucket.list(start, end)]


def put_all(bucket: Bucket, keys: list[str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda key: bucket.put(key, key.encode(), {}), keys))


class BucketSuite:
    """Tests of ``bucket``."""

    def test_an_object_is_read_as_it_was_put(self, bucket: Bucket) -> None:
        every_byte = bytes(range(256)) * 300
        assert bucket.put("api/cpu/1", every_byte, {}) is True
        assert bucket.get("api/cpu/1") == every_byte

    def test_an_object_may_be_empty(self, bucket: Bucket) -> None:
        bucket.put("api/cpu/1", b"", {})
        assert bucket.get("api/cpu/1") == b""
        assert bucket.stat("api/cpu/1").size == 0
        assert list_keys(bucket, "api/", "api0") == ["api/cpu/1"]

    def test_an_object_of_several_megabytes_is_read_completely(self, bucket: Bucket) -> None:
        data = b"0123456789abcdef" * (5 << 16)
        bucket.put("api/cpu/1", data, {})
        assert bucket.get("api/cpu/1") == data
        assert next(bucket.get_many([ObjectRange("api/cpu/1")])) == data
        assert bucket.stat("api/cpu/1").size == len(data)

    def test_compressed_bytes_are_neither_inflated_nor_deflated(self, bucket: Bucket) -> None:
        gzipped = bytes.fromhex("1f8b08000000000002ff4b040043beb7e801000000")
        bucket.put("api/cpu/1.pb.gz", gzipped, {})
        assert bucket.get("api/cpu/1.pb.gz") == gzipped
        assert bucket.stat("api/cpu/1.pb.gz").size == len(gzipped)

    def test_a_second_put_changes_nothing_and_says_so(self, bucket: Bucket) -> None:
        assert bucket.put("api/cpu/1", b"first", {"labels": "a=1"}) is True
        assert bucket.put("api/cpu/1", b"second", {"labels": "a=2", "more": "x"}) is False
        assert bucket.get("api/cpu/1") == b"first"
        assert bucket.stat("api/cpu/1").metadata == {"labels": "a=1"}
        assert list_keys(bucket, "api/", "api0") == ["api/cpu/1"]

    @pytest.mark.parametrize("key", ["api/cpu/1", "api/cpu/1.pb.gz"])
    def test_a_replaced_object_has_the_new_bytes_and_metadata_only(self, bucket: Bucket, key: str) -> None:
        gzipped = gzip.compress(b"new")
        bucket.put(key, b"old", {"labels": "a=1", "more": "x"})
        for data, metadata in ((gzipped, {"labels": "a=2"}), (b"newer", {"labels": "a=3"}), (b"", {})):
            bucket.replace(key, data, metadata)
            assert bucket.get(key) == data
            obj = bucket.stat(key)
            assert (obj.size, obj.metadata) == (len(data), metadata)
        assert list_keys(bucket, "api/", "api0") == [key]
        assert bucket.put(key, b"second", {}) is False

    def test_an_object_that_does_not_exist_is_put_by_a_replace(self, bucket: Bucket) -> None:
        bucket.replace("api/cpu/1", b"data", {"labels": "a=1"})
        assert bucket.get("api/cpu/1") == b"data"
        assert bucket.stat("api/cpu/1").metadata == {"labels": "a=1"}

    def test_an_object_exists_while_it_is_replaced(self, bucket: Bucket) -> None:
        """A concurrent reader sees all bytes of the old object, or of the new one, and metadata only of that."""
        contents = [str(number).encode() * 300_000 for number in range(10)]
        bucket.put("api/cpu/1", contents[0], {"labels": "0"})
        with ThreadPoolExecutor(1) as threads:
            for number, data in enumerate(contents[1:], 1):
                replaced = threads.submit(bucket.replace, "api/cpu/1", data, {"labels": str(number)})
                while not replaced.done():
                    assert bucket.get("api/cpu/1") in contents[number - 1 : number + 1]
                    labels = (bucket.stat("api/cpu/1").metadata or {}).get("labels")
                    assert labels in (str(number - 1), str(number), None)
                replaced.result()
                assert bucket.stat("api/cpu/1").metadata == {"labels": str(number)}

    def test_a_key_may_contain_every_character_of_the_alphabet(self, bucket: Bucket) -> None:
        keys = [f"x{c}y/{c if c != '.' else 'x.'}" for c in string.ascii_letters + string.digits + ".-_~="]
        put_all(bucket, keys)
        assert list_keys(bucket, "x", "y") == sorted(keys)
        assert list(bucket.get_many([ObjectRange(key) for key in keys])) == [key.encode() for key in keys]

    def test_a_key_of_the_maximum_length_is_accepted(self, bucket: Bucket) -> None:
        segment = "Az0.-_~9" * 30
        key = f"{segment}/{segment}/{segment}/{segment}/{segment[:60]}"
        assert len(segment) == 240
        assert len(key) == 1024
        bucket.put(key, b"deep", {"labels": "a=1"})
        assert bucket.get(key) == b"deep"
        assert bucket.stat(key).metadata == {"labels": "a=1"}
        assert list_keys(bucket, "A", "B") == [key]

    @pytest.mark.parametrize("key", ["api/cpu/2", "api/cpu", "api", "api/cpu/1/2", "other"])
    def test_similar_keys_do_not_find_an_object(self, bucket: Bucket, key: str) -> None:
        bucket.put("api/cpu/1", b"data", {})
        with pytest.raises(NotFound):
            bucket.get(key)
        with pytest.raises(NotFound):
            bucket.stat(key)
        assert list(bucket.get_many([ObjectRange(key)])) == [None]
        bucket.delete(key)
        assert bucket.get("api/cpu/1") == b"data"

    @pytest.mark.parametrize(
        "metadata",
        [
            {},
            {"labels": ""},
            {"labels": "version=0.0.1,a=%F0%9F%94%A5%25", "totals": "cpu:nanoseconds=-120,samples:count=3"},
            {"x": "a" * 1990},
            {name: name * 20 for name in string.ascii_lowercase},
        ],
        ids=["none", "empty", "real", "2 KB", "many"],
    )
    def test_metadata_are_read_as_they_were_put(self, bucket: Bucket, metadata: Mapping[str, str]) -> None:
        bucket.put("api/cpu/1", b"12345", metadata)
        obj = bucket.stat("api/cpu/1")
        assert (obj.key, obj.size, obj.metadata) == ("api/cpu/1", 5, metadata)

    @pytest.mark.parametrize("size", [0, 1, 1000, (1 << 20) + 5])
    @pytest.mark.parametrize("key", ["api/cpu/1", "api/cpu/1.pb.gz"])
    def test_other_bytes_than_were_put_are_recognized(self, bucket: Bucket, key: str, size: int) -> None:
        data = (b"\x1f\x8b" + bytes(size))[:size]
        bucket.put(key, data, {"labels": "a=1"})
        assert bucket.verify(key, data) == bucket.stat(key)
        for other in (data + b"\0", data[:-1], data[:-1] + b"x", b"x" + data[1:]):
            if other != data:
                with pytest.raises(Damaged, match=key):
                    bucket.verify(key, other)
        with pytest.raises(NotFound):
            bucket.verify("api/cpu/2", data)

    def test_a_listing_has_sizes_and_either_no_metadata_or_correct_ones(self, bucket: Bucket) -> None:
        bucket.put("api/cpu/1", b"12345", {"labels": "a=1"})
        bucket.put("api/cpu/2", b"1", {})
        first, second = bucket.list("api/", "api0")
        assert (first.size, second.size) == (5, 1)
        assert first.metadata in (None, {"labels": "a=1"})
        assert second.metadata in (None, {})

    def test_a_listing_is_ordered_by_the_bytes_of_the_keys(self, bucket: Bucket) -> None:
        put_all(bucket, KEYS[::-1])
        assert sorted(KEYS) == KEYS
        assert list_keys(bucket, "-", "\x7f") == KEYS

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            ("api/cpu/1", "api/cpu/2", ["api/cpu/1", "api/cpu/10"]),  # includes the start, excludes the end
            ("api/cpu/10", "api/cpu/10", []),
            ("api/cpu/2", "api/cpu/1", []),
            ("api/cpu/10", "api/cpu/10~", ["api/cpu/10"]),
            (
                "api/cpu/",
                "api/cpu0",
                ["api/cpu/1", "api/cpu/10", "api/cpu/2"],
            ),  # all below the prefix, but not "api/cpu0"
            ("api/", "api0", ["api/cpu/1", "api/cpu/10", "api/cpu/2", "api/cpu0", "api/heap/1"]),
            ("api/cpu", "api/cpu/", []),
            ("api", "api/", ["api-v2/cpu/1", "api.v2/cpu/1"]),  # "-" and "." come before "/"
            (
                "api/cpu/15",
                "api/heap/1",
                ["api/cpu/2", "api/cpu0"],
            ),  # neither end exists, and they are in different folders
            ("api/d", "api/h", []),
            ("api/cpu/1~", "api/cpu/10", []),
            ("_/", "_0", ["_/blocks/1"]),
            ("apj", "b", []),
            ("b", "b0", ["b"]),
            ("", "-dash/cpu/10", ["-dash/cpu/1"]),
            ("~", "~~", ["~C3~A9/cpu/1"]),
        ],
    )
    def test_a_listing_contains_a_range_of_keys(
        self, bucket: Bucket, start: str, end: str, expected: list[str]
    ) -> None:
        put_all(bucket, KEYS)
        assert list_keys(bucket, start, end) == expected

    def test_a_listing_of_an_empty_bucket_is_empty(self, bucket: Bucket) -> None:
        assert list_keys(bucket, "", "\x7f") == []

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(keys=st.sets(DEEP_KEYS, min_size=1, max_size=12), start=PATHS, end=PATHS, slash=st.booleans())
    def test_a_listing_is_a_range_of_a_sorted_set(
        self, bucket: Bucket, keys: set[str], start: str, end: str, slash: bool
    ) -> None:
        start += "/" * slash
        for obj in list(bucket.list("", "\x7f")):
            bucket.delete(obj.key)
        for key in keys:
            bucket.put(key, b"", {})
        assert list_keys(bucket, start, end) == sorted(key for key in keys if start <= key < end)

    def test_a_listing_is_complete_beyond_one_page_of_any_provider(self, bucket: Bucket) -> None:
        keys = [f"api/cpu/{number:05}" for number in range(1030)]
        put_all(bucket, keys)
        assert list_keys(bucket, "api/", "api0") == keys
        assert list_keys(bucket, "api/cpu/00007", "api/cpu/01020") == keys[7:1020]

    def test_a_listing_in_progress_survives_writes_and_contains_unchanged_keys(self, bucket: Bucket) -> None:
        keys = [f"api/cpu/{number:03}" for number in range(30)]
        put_all(bucket, keys)
        listing = bucket.list("api/", "api0")
        keys_found = [next(listing).key]
        for key in keys[10:20]:
            bucket.delete(key)
        bucket.put("api/cpu/0005", b"", {})
        keys_found += [obj.key for obj in listing]
        assert keys_found == sorted(set(keys_found))
        assert set(keys_found) >= {*keys[:10], *keys[20:]}
        assert set(keys_found) <= {*keys, "api/cpu/0005"}

    def test_a_deleted_object_may_be_put_again(self, bucket: Bucket) -> None:
        bucket.put("api/cpu/1", b"old", {"labels": "a=1"})
        bucket.put("api/cpu/2", b"other", {})
        bucket.delete("api/cpu/1")
        with pytest.raises(NotFound):
            bucket.get("api/cpu/1")
        with pytest.raises(NotFound):
            bucket.stat("api/cpu/1")
        assert list_keys(bucket, "api/", "api0") == ["api/cpu/2"]
        assert bucket.put("api/cpu/1", b"new", {}) is True
        assert bucket.get("api/cpu/1") == b"new"
        assert bucket.stat("api/cpu/1").metadata == {}

    def test_deleting_a_missing_object_is_no_error(self, bucket: Bucket) -> None:
        bucket.delete("api/cpu/1")
        bucket.put("api/cpu/1", b"", {})
        bucket.delete("api/cpu/1")
        bucket.delete("api/cpu/1")
        assert list_keys(bucket, "api/", "api0") == []

    @pytest.mark.parametrize("key", ["api/cpu/1", "api/cpu/1.pb.gz"])
    def test_an_object_is_deleted_only_if_it_has_certain_bytes(self, bucket: Bucket, key: str) -> None:
        old, new = gzip.compress(b"old"), gzip.compress(b"new")
        bucket.put(key, old, {"labels": "a=1"})
        bucket.replace(key, new, {"labels": "a=2"})
        for data in (old, new[:-1], b""):
            bucket.delete(key, data)
            assert bucket.get(key) == new
            assert bucket.stat(key).metadata == {"labels": "a=2"}
        for _ in range(2):
            bucket.delete(key, new)
            assert list_keys(bucket, "api/", "api0") == []

    def test_get_many_keeps_the_order_and_yields_none_for_missing_objects(self, bucket: Bucket) -> None:
        keys = [f"api/cpu/{number:03}" for number in range(60)]
        put_all(bucket, keys)
        requested = keys[::-1]
        requested[7] = "api/cpu/none"
        requested[20] = requested[21]
        requested.append("other/cpu/1")
        expected = [key.encode() if key in keys else None for key in requested]
        assert list(bucket.get_many([ObjectRange(key) for key in requested])) == expected
        assert expected.count(None) == 2

    def test_a_range_of_an_object_can_be_read(self, bucket: Bucket) -> None:
        data = bytes(range(256)) * 40
        bucket.put("api/cpu/1", data, {})
        ranges = [
            (0, 1),
            (0, 10_240),
            (100, 357),
            (10_239, 10_240),
            (5000, None),
            (0, 10_000),
            (0, None),
            (7, 20_000),
        ]
        object_ranges = [ObjectRange("api/cpu/1", begin, end) for begin, end in ranges]
        assert list(bucket.get_many(object_ranges)) == [data[begin:end] for begin, end in ranges]
        assert list(bucket.get_many([ObjectRange("api/cpu/2", 5, 10)])) == [None]

    def test_a_range_beyond_the_end_of_an_object_has_no_bytes(self, bucket: Bucket) -> None:
        bucket.put("api/cpu/1", b"0123456789", {})
        bucket.put("api/cpu/2", b"", {})
        for key in ("api/cpu/1", "api/cpu/2"):
            assert list(bucket.get_many([ObjectRange(key, 10, 20), ObjectRange(key, 17)])) == [b"", b""]
        assert list(bucket.get_many([ObjectRange("api/cpu/2", 0, 5)])) == [b""]

    def test_a_range_of_any_length_takes_the_memory_of_the_object(self, bucket: Bucket) -> None:
        for key in ("api/cpu/1.pb.gz", "api/batch/2.batch"):
            bucket.put(key, b"0123456789", {})
            ranges = [ObjectRange(key, 5, 10**15), ObjectRange(key, 10**15, 2 * 10**15)]
            assert list(bucket.get_many(ranges)) == [b"56789", b""]

    def test_get_many_of_no_ranges_yields_nothing(self, bucket: Bucket) -> None:
        assert list(bucket.get_many([])) == []

    def test_get_many_can_be_closed_early(self, bucket: Bucket) -> None:
        keys = [f"api/cpu/{number:03}" for number in range(60)]
        put_all(bucket, keys)
        for _ in range(20):
            objects = bucket.get_many([ObjectRange(key) for key in keys])
            assert next(objects) == b"api/cpu/000"
            objects.close()  # type: ignore[attr-defined]
            assert list(objects) == []
        assert bucket.get(keys[-1]) == b"api/cpu/059"

    def test_a_signed_url_is_an_http_url_or_none(self, bucket: Bucket) -> None:
        url = bucket.sign_url("api/cpu/1", "api-cpu.pb.gz", 60)
        assert url is None or urlsplit(url).scheme in ("http", "https")

    def test_one_of_concurrent_puts_of_a_key_wins_with_its_bytes_and_metadata(self, bucket: Bucket) -> None:
        with ThreadPoolExecutor(8) as threads:
            for key in (f"api/cpu/{number}" for number in range(12)):
                won = list(
                    threads.map(
                        lambda writer, key=key: bucket.put(
                            key, b"%d" % writer * 5000, {"labels": f"writer={writer}"}
                        ),
                        range(8),
                    )
                )
                assert won.count(True) == 1
                assert bucket.get(key) == b"%d" % won.index(True) * 5000
                assert bucket.stat(key).metadata == {"labels": f"writer={won.index(True)}"}

    def test_concurrently_put_objects_all_exist(self, bucket: Bucket) -> None:
        keys = [f"service-{number % 7}/cpu/{number:03}" for number in range(150)]
        with ThreadPoolExecutor(8) as threads:
            is_new = list(threads.map(lambda key: bucket.put(key, key.encode(), {"labels": key}), keys * 2))
        assert is_new.count(True) == len(keys)
        assert list_keys(bucket, "", "\x7f") == sorted(keys)
        assert list(bucket.get_many([ObjectRange(key) for key in keys])) == [key.encode() for key in keys]
        assert [bucket.stat(key).metadata for key in keys] == [{"labels": key} for key in keys]

    def test_an_object_exists_completely_or_not_at_all(self, bucket: Bucket) -> None:
        """A concurrent reader sees nothing of it, or all bytes and metadata."""
        data = b"0123456789" * 100_000
        with ThreadPoolExecutor(1) as threads:
            for key in (f"api/cpu/{number}" for number in range(10)):
                put = threads.submit(bucket.put, key, data, {"labels": "a=1"})
                while (data_read := next(bucket.get_many([ObjectRange(key)]))) is None:
                    assert not (put.done() and put.exception())
                assert data_read == data
                assert bucket.stat(key).metadata == {"labels": "a=1"}
                assert put.result() is True
