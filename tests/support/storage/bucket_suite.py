"""What every bucket must do: fill in the fixture ``bucket`` with an empty one."""

import string
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profbucket.errors import NotFound
from profbucket.storage.ports import Bucket, ObjectRange

# Their order as bytes is another one than that of their parts, of letters, or of any language.
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
PARTS = st.sampled_from(["a", "a-", "a.", "a0", "aa", "a~", "A", "_", "~", "-", "0", "b"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
DEEP = st.lists(PARTS, min_size=3, max_size=3).map("/".join)  # none lies below another: no file system has both


def list_keys(bucket: Bucket, start: str, end: str) -> list[str]:
    return [one.key for one in bucket.list(start, end)]


def put_all(bucket: Bucket, keys: list[str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda key: bucket.put(key, key.encode(), {}), keys))


class BucketSuite:
    """Claims about ``bucket``."""

    def test_an_object_comes_back_byte_for_byte(self, bucket: Bucket) -> None:
        every_byte = bytes(range(256)) * 300
        assert bucket.put("api/cpu/1", every_byte, {}) is True
        assert bucket.get("api/cpu/1") == every_byte

    def test_an_object_may_be_empty(self, bucket: Bucket) -> None:
        bucket.put("api/cpu/1", b"", {})
        assert bucket.get("api/cpu/1") == b""
        assert bucket.stat("api/cpu/1").size == 0
        assert list_keys(bucket, "api/", "api0") == ["api/cpu/1"]

    def test_an_object_of_several_megabytes_comes_back_whole(self, bucket: Bucket) -> None:
        data = b"0123456789abcdef" * (5 << 16)
        bucket.put("api/cpu/1", data, {})
        assert bucket.get("api/cpu/1") == data
        assert next(bucket.get_many([ObjectRange("api/cpu/1")])) == data
        assert bucket.stat("api/cpu/1").size == len(data)

    def test_what_looks_compressed_is_neither_inflated_nor_deflated(self, bucket: Bucket) -> None:
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

    def test_every_character_of_the_alphabet_can_stand_in_a_key(self, bucket: Bucket) -> None:
        keys = [f"x{c}y/{c if c != '.' else 'x.'}" for c in string.ascii_letters + string.digits + ".-_~"]
        put_all(bucket, keys)
        assert list_keys(bucket, "x", "y") == sorted(keys)
        assert list(bucket.get_many([ObjectRange(key) for key in keys])) == [key.encode() for key in keys]

    def test_a_key_of_the_greatest_length_is_a_key(self, bucket: Bucket) -> None:
        part = "Az0.-_~9" * 30
        key = f"{part}/{part}/{part}/{part}/{part[:60]}"
        assert len(part) == 240
        assert len(key) == 1024
        bucket.put(key, b"far down", {"labels": "a=1"})
        assert bucket.get(key) == b"far down"
        assert bucket.stat(key).metadata == {"labels": "a=1"}
        assert list_keys(bucket, "A", "B") == [key]

    @pytest.mark.parametrize("key", ["api/cpu/2", "api/cpu", "api", "api/cpu/1/2", "other"])
    def test_no_other_key_finds_an_object(self, bucket: Bucket, key: str) -> None:
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
    def test_metadata_come_back_as_they_went(self, bucket: Bucket, metadata: Mapping[str, str]) -> None:
        bucket.put("api/cpu/1", b"12345", metadata)
        there = bucket.stat("api/cpu/1")
        assert (there.key, there.size, there.metadata) == ("api/cpu/1", 5, metadata)

    def test_a_list_has_sizes_and_either_no_metadata_or_the_right_ones(self, bucket: Bucket) -> None:
        bucket.put("api/cpu/1", b"12345", {"labels": "a=1"})
        bucket.put("api/cpu/2", b"1", {})
        one, two = bucket.list("api/", "api0")
        assert (one.size, two.size) == (5, 1)
        assert one.metadata in (None, {"labels": "a=1"})
        assert two.metadata in (None, {})

    def test_a_list_is_ordered_by_the_bytes_of_the_keys(self, bucket: Bucket) -> None:
        put_all(bucket, KEYS[::-1])
        assert sorted(KEYS) == KEYS
        assert list_keys(bucket, "-", "\x7f") == KEYS

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            ("api/cpu/1", "api/cpu/2", ["api/cpu/1", "api/cpu/10"]),  # the start is in, the end is out
            ("api/cpu/10", "api/cpu/10", []),
            ("api/cpu/2", "api/cpu/1", []),
            ("api/cpu/10", "api/cpu/10~", ["api/cpu/10"]),
            ("api/cpu/", "api/cpu0", ["api/cpu/1", "api/cpu/10", "api/cpu/2"]),  # all below, and not "api/cpu0"
            ("api/", "api0", ["api/cpu/1", "api/cpu/10", "api/cpu/2", "api/cpu0", "api/heap/1"]),
            ("api/cpu", "api/cpu/", []),
            ("api", "api/", ["api-v2/cpu/1", "api.v2/cpu/1"]),  # "-" and "." come before "/"
            ("api/cpu/15", "api/heap/1", ["api/cpu/2", "api/cpu0"]),  # neither end is there, nor in one folder
            ("api/d", "api/h", []),
            ("api/cpu/1~", "api/cpu/10", []),
            ("_/", "_0", ["_/blocks/1"]),
            ("apj", "b", []),
            ("b", "b0", ["b"]),
            ("", "-dash/cpu/10", ["-dash/cpu/1"]),
            ("~", "~~", ["~C3~A9/cpu/1"]),
        ],
    )
    def test_a_list_holds_a_range_of_keys(self, bucket: Bucket, start: str, end: str, expected: list[str]) -> None:
        put_all(bucket, KEYS)
        assert list_keys(bucket, start, end) == expected

    def test_a_list_of_an_empty_bucket_is_empty(self, bucket: Bucket) -> None:
        assert list_keys(bucket, "", "\x7f") == []

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(keys=st.sets(DEEP, min_size=1, max_size=12), start=PATHS, end=PATHS, slash=st.booleans())
    def test_a_list_is_what_a_sorted_set_would_be(
        self, bucket: Bucket, keys: set[str], start: str, end: str, slash: bool
    ) -> None:
        start += "/" * slash
        for one in list(bucket.list("", "\x7f")):
            bucket.delete(one.key)
        for key in keys:
            bucket.put(key, b"", {})
        assert list_keys(bucket, start, end) == sorted(key for key in keys if start <= key < end)

    def test_a_list_is_whole_beyond_the_pages_of_any_provider(self, bucket: Bucket) -> None:
        keys = [f"api/cpu/{number:05}" for number in range(1030)]
        put_all(bucket, keys)
        assert list_keys(bucket, "api/", "api0") == keys
        assert list_keys(bucket, "api/cpu/00007", "api/cpu/01020") == keys[7:1020]

    def test_a_list_under_way_holds_what_stays_and_survives_what_goes(self, bucket: Bucket) -> None:
        keys = [f"api/cpu/{number:03}" for number in range(30)]
        put_all(bucket, keys)
        under_way = bucket.list("api/", "api0")
        found = [next(under_way).key]
        for key in keys[10:20]:
            bucket.delete(key)
        bucket.put("api/cpu/0005", b"", {})
        found += [one.key for one in under_way]
        assert found == sorted(set(found))
        assert set(found) >= {*keys[:10], *keys[20:]}
        assert set(found) <= {*keys, "api/cpu/0005"}

    def test_a_deleted_object_is_gone_and_may_be_put_anew(self, bucket: Bucket) -> None:
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

    def test_to_delete_what_is_not_there_is_no_error(self, bucket: Bucket) -> None:
        bucket.delete("api/cpu/1")
        bucket.put("api/cpu/1", b"", {})
        bucket.delete("api/cpu/1")
        bucket.delete("api/cpu/1")
        assert list_keys(bucket, "api/", "api0") == []

    def test_get_many_keeps_the_order_and_says_what_is_missing(self, bucket: Bucket) -> None:
        keys = [f"api/cpu/{number:03}" for number in range(60)]
        put_all(bucket, keys)
        asked = keys[::-1]
        asked[7] = "api/cpu/none"
        asked[20] = asked[21]
        asked.append("other/cpu/1")
        expected = [key.encode() if key in keys else None for key in asked]
        assert list(bucket.get_many([ObjectRange(key) for key in asked])) == expected
        assert expected.count(None) == 2

    def test_a_part_of_an_object_is_read_alone(self, bucket: Bucket) -> None:
        data = bytes(range(256)) * 40
        bucket.put("api/cpu/1", data, {})
        asked = [
            (0, 1),
            (0, 10_240),
            (100, 357),
            (10_239, 10_240),
            (5000, None),
            (0, 10_000),
            (0, None),
            (7, 20_000),
        ]
        parts = [ObjectRange("api/cpu/1", begin, end) for begin, end in asked]
        assert list(bucket.get_many(parts)) == [data[begin:end] for begin, end in asked]
        assert list(bucket.get_many([ObjectRange("api/cpu/2", 5, 10)])) == [None]

    def test_get_many_of_nothing_is_nothing(self, bucket: Bucket) -> None:
        assert list(bucket.get_many([])) == []

    def test_get_many_can_be_left_early(self, bucket: Bucket) -> None:
        keys = [f"api/cpu/{number:03}" for number in range(60)]
        put_all(bucket, keys)
        for _ in range(20):
            objects = bucket.get_many([ObjectRange(key) for key in keys])
            assert next(objects) == b"api/cpu/000"
            objects.close()  # type: ignore[attr-defined]
            assert list(objects) == []
        assert bucket.get(keys[-1]) == b"api/cpu/059"

    def test_a_link_is_a_url_that_anyone_can_fetch_or_there_is_none(self, bucket: Bucket) -> None:
        link = bucket.sign_url("api/cpu/1", "api-cpu.pb.gz", 60)
        assert link is None or urlsplit(link).scheme in ("http", "https")

    def test_of_concurrent_puts_of_a_key_one_wins_with_bytes_and_metadata(self, bucket: Bucket) -> None:
        with ThreadPoolExecutor(8) as threads:
            for key in (f"api/cpu/{number}" for number in range(12)):
                won = list(
                    threads.map(
                        lambda one, key=key: bucket.put(key, b"%d" % one * 5000, {"labels": f"one={one}"}),
                        range(8),
                    )
                )
                assert won.count(True) == 1
                assert bucket.get(key) == b"%d" % won.index(True) * 5000
                assert bucket.stat(key).metadata == {"labels": f"one={won.index(True)}"}

    def test_concurrent_puts_of_many_keys_are_all_there(self, bucket: Bucket) -> None:
        keys = [f"service-{number % 7}/cpu/{number:03}" for number in range(150)]
        with ThreadPoolExecutor(8) as threads:
            new = list(threads.map(lambda key: bucket.put(key, key.encode(), {"labels": key}), keys * 2))
        assert new.count(True) == len(keys)
        assert list_keys(bucket, "", "\x7f") == sorted(keys)
        assert list(bucket.get_many([ObjectRange(key) for key in keys])) == [key.encode() for key in keys]
        assert [bucket.stat(key).metadata for key in keys] == [{"labels": key} for key in keys]

    def test_an_object_is_whole_or_not_there_at_all(self, bucket: Bucket) -> None:
        """Who reads while it is written sees none of it or all of it, metadata too."""
        data = b"0123456789" * 100_000
        with ThreadPoolExecutor(1) as threads:
            for key in (f"api/cpu/{number}" for number in range(10)):
                writing = threads.submit(bucket.put, key, data, {"labels": "a=1"})
                while (found := next(bucket.get_many([ObjectRange(key)]))) is None:
                    assert not (writing.done() and writing.exception())
                assert found == data
                assert bucket.stat(key).metadata == {"labels": "a=1"}
                assert writing.result() is True
