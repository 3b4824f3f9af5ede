"""What every storage must do: fill in the fixture ``storage`` with an empty one."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from profbucket.errors import NotFound
from profbucket.model.ids import ProfileId, profile_prefix
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Meta, Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.metadata import from_metadata, to_metadata
from profbucket.storage.store import Storage
from tests.support.storage.examples import EVER, NOW, TEXTS, meta

CPU, HEAP, TRACE = ProfileType.CPU, ProfileType.HEAP, ProfileType.TRACE


def profile(number: int, **how: object) -> tuple[Meta, bytes]:
    data = b"profile %d" % number
    return meta(NOW + number, data=data, **how), data  # type: ignore[arg-type]


def write(storage: Storage, profiles: Iterable[tuple[Meta, bytes]]) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda one: storage.write(*one), profiles))


def find(
    storage: Storage, labels: str = "", *, service: str = "api", kind: ProfileType | None = CPU
) -> list[Meta]:
    return list(storage.lookup.find(Query(service, kind, *EVER, parse_matchers(labels))))


class StorageClaims:
    """Claims about ``storage``."""

    def test_what_is_written_is_found_and_read(self, storage: Storage) -> None:
        one, data = profile(1, labels="version=0.0.1", totals=[Total("cpu", "nanoseconds", 5)])
        assert storage.write(one, data) is True
        assert find(storage) == [one]
        assert storage.read(ProfileId.parse(one.id)) == data
        assert list(storage.read_many([ProfileId.parse(one.id)])) == [data]
        assert storage.index.services() == ["api"]

    def test_a_second_write_changes_nothing_and_says_so(self, storage: Storage) -> None:
        one, data = profile(1, labels="v=1")
        assert storage.write(one, data) is True
        assert storage.write(one, data) is False
        assert find(storage) == [one]
        assert storage.read(ProfileId.parse(one.id)) == data

    def test_the_object_lies_under_its_key_with_what_its_meta_needs(self, storage: Storage) -> None:
        cpu, trace = profile(1, labels="v=1"), profile(2, type=TRACE, service="größe 🔥")
        write(storage, [cpu, trace])
        for (one, data), key in zip(
            (cpu, trace),
            (
                r"api/cpu/20261122T225107\.123456790Z-[0-9a-f]{16}\.pb\.gz",
                r"gr~C3~B6~C3~9Fe~20~F0~9F~94~A5/trace/20261122T225107\.123456791Z-[0-9a-f]{16}\.trace",
            ),
            strict=True,
        ):
            (found,) = storage.bucket.list(profile_prefix(one.service), profile_prefix(one.service)[:-1] + "0")
            assert re.fullmatch(key, found.key)
            assert storage.bucket.get(found.key) == data
            there = storage.bucket.stat(found.key)
            assert there.metadata is not None
            assert from_metadata(there.key, there.size, there.metadata) == one

    def test_the_index_can_be_rebuilt_from_the_bucket(self, storage: Storage) -> None:
        profiles = [
            profile(
                number,
                service=service,
                labels=Labels.from_pairs([("text", text)]),
                totals=[Total(text, "ü", -number)],
            )
            for number, text in enumerate(TEXTS)
            for service in ("api", "größe/🔥")
        ]
        write(storage, profiles)
        rebuilt = []
        for one in storage.bucket.list("", "\x7f"):
            there = storage.bucket.stat(one.key)
            assert there.metadata is not None
            rebuilt.append(from_metadata(there.key, there.size, there.metadata))
        found = find(storage) + find(storage, service="größe/🔥")
        assert len(found) == len(profiles)
        assert sorted(rebuilt, key=lambda one: one.id) == sorted(found, key=lambda one: one.id)

    def test_a_write_that_was_cut_off_between_object_and_entry_is_completed_by_the_next(
        self, storage: Storage
    ) -> None:
        one, data = profile(1, labels="v=1")
        storage.bucket.put(ProfileId.parse(one.id).object_key, data, to_metadata(one))
        assert find(storage) == []
        assert storage.write(one, data) is True
        assert find(storage) == [one]
        assert storage.write(one, data) is False

    @pytest.mark.parametrize(
        ("labels", "versions"),
        [
            ("", ["", "0.0.1", "0.0.2", "0.0.20", "v0.0.2"]),
            ("version=0.0.2", ["0.0.2"]),
            ("version=", [""]),
            ("version=0.0", []),
            ("version!=0.0.2", ["", "0.0.1", "0.0.20", "v0.0.2"]),
            ("version!=", ["0.0.1", "0.0.2", "0.0.20", "v0.0.2"]),
            ("version=~0.0.2", ["0.0.2"]),  # matches the whole value, at both ends
            ("version=~0.0.2.*", ["0.0.2", "0.0.20"]),
            ("version=~.*0.0.2", ["0.0.2", "v0.0.2"]),
            ("version=~0.0.1|v.*", ["0.0.1", "v0.0.2"]),
            ("version=~", [""]),
            ("version=~.*", ["", "0.0.1", "0.0.2", "0.0.20", "v0.0.2"]),
            ("version=~.%2B", ["0.0.1", "0.0.2", "0.0.20", "v0.0.2"]),
            ("version!~0.0.*", ["", "v0.0.2"]),
            ("version!~.*", []),
            ("absent=", ["", "0.0.1", "0.0.2", "0.0.20", "v0.0.2"]),
            ("absent!=x", ["", "0.0.1", "0.0.2", "0.0.20", "v0.0.2"]),
            ("absent=~x?", ["", "0.0.1", "0.0.2", "0.0.20", "v0.0.2"]),
            ("absent=x", []),
            ("absent!~.*", []),
            ("env=prod", ["0.0.1", "0.0.20"]),
            ("env!=prod", ["", "0.0.2", "v0.0.2"]),
            ("env=prod,version!~0.0.1", ["0.0.20"]),  # all of them
            ("env=prod,version=0.0.2", []),
            ("env=prod,env!=prod", []),
        ],
    )
    def test_labels_select(self, storage: Storage, labels: str, versions: list[str]) -> None:
        has = {"": "", "0.0.1": ",env=prod", "0.0.2": ",env=test", "0.0.20": ",env=prod", "v0.0.2": ""}
        write(
            storage,
            [
                profile(number, service=service, type=kind, labels=f"version={version}{more}" if version else "")
                for number, (version, more) in enumerate(has.items())
                for kind in (CPU, HEAP)
                for service in ("api", "other")
            ],
        )
        assert [one.labels.get("version") for one in find(storage, labels)] == versions
        assert [one.type for one in find(storage, labels, kind=None)] == [
            kind for _ in versions for kind in (CPU, HEAP)
        ]

    @pytest.mark.parametrize("text", TEXTS)
    def test_any_text_can_be_asked_for(self, storage: Storage, text: str) -> None:
        labels = Labels.from_pairs([("text", text)])
        one, other = profile(1, service=text, labels=labels), profile(2, service=text, labels="text=other")
        write(storage, [one, other])
        assert find(storage, labels.format(), service=text) == [one[0]]
        assert find(storage, "text=other", service=text) == [other[0]]
        assert storage.index.services() == [text]

    @pytest.mark.parametrize("labels", ["", "v=~.*"], ids=["no labels", "labels"])
    def test_a_find_has_both_ends_of_its_range_a_limit_and_a_place_to_go_on(
        self, storage: Storage, labels: str
    ) -> None:
        profiles = [profile(number, labels=f"v={number % 2}") for number in range(6)]
        metas = [one for one, _ in profiles]
        write(storage, profiles[::-1])
        query = Query("api", CPU, NOW + 1, NOW + 4, parse_matchers(labels))
        assert list(storage.lookup.find(query)) == metas[1:5]
        assert list(storage.lookup.find(replace(query, limit=2))) == metas[1:3]
        assert list(storage.lookup.find(replace(query, limit=2, after=metas[2].position))) == metas[3:5]
        assert list(storage.lookup.find(replace(query, start=NOW + 5, end=NOW + 4))) == []

    def test_a_profile_that_is_not_there_is_not_found(self, storage: Storage) -> None:
        one, data = profile(1)
        storage.write(one, data)
        for other in (meta(NOW), meta(NOW + 1, service="other", data=data), meta(NOW + 1, type=HEAP, data=data)):
            with pytest.raises(NotFound):
                storage.read(ProfileId.parse(other.id))

    def test_a_profile_is_read_by_its_id_even_if_the_index_has_lost_it(self, storage: Storage) -> None:
        one, data = profile(1)
        storage.write(one, data)
        storage.index.remove([one.id])
        assert find(storage) == []
        assert storage.read(ProfileId.parse(one.id)) == data

    def test_many_are_read_in_order_and_what_has_expired_is_none(self, storage: Storage) -> None:
        profiles = [profile(number, type=(CPU, TRACE)[number % 2]) for number in range(30)]
        write(storage, profiles)
        storage.bucket.delete(ProfileId.parse(profiles[4][0].id).object_key)
        ids = [ProfileId.parse(one.id) for one, _ in profiles]
        expected: list[bytes | None] = [data for _, data in profiles]
        expected[4] = None
        assert list(storage.read_many(ids)) == expected
        assert list(storage.read_many(iter(ids[::-1]))) == expected[::-1]
        assert list(storage.read_many([])) == []

    def test_services_are_those_that_have_profiles(self, storage: Storage) -> None:
        assert storage.index.services() == []
        write(storage, [profile(1, service=service) for service in ("web", "api", "größe", "api/v2", "_")])
        assert storage.index.services() == ["_", "api", "api/v2", "größe", "web"]

    def test_of_concurrent_writes_of_a_profile_one_is_new(self, storage: Storage) -> None:
        profiles = [profile(number, labels=f"v={number % 3}") for number in range(12)]
        with ThreadPoolExecutor(8) as threads:
            for one in profiles:
                assert list(threads.map(lambda _, one=one: storage.write(*one), range(8))).count(True) == 1
        assert find(storage) == [one for one, _ in profiles]

    def test_concurrent_writes_of_many_profiles_are_all_found_and_read(self, storage: Storage) -> None:
        profiles = [
            profile(
                number, service=f"service-{number % 3}", type=(CPU, HEAP)[number % 2], labels=f"pod={number % 20}"
            )
            for number in range(150)
        ]
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(lambda one: storage.write(*one), profiles * 2)).count(True) == 150
        data = dict(profiles)
        for service in ("service-0", "service-1", "service-2"):
            found = find(storage, service=service, kind=None)
            assert found == [one for one, _ in profiles if one.service == service]
            assert list(storage.read_many(ProfileId.parse(one.id) for one in found)) == [
                data[one] for one in found
            ]
