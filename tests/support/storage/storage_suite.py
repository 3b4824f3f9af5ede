"""Acceptance suite of every storage. Subclasses define the fixture ``storage``, an empty one."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from profbucket.errors import Damaged, NotFound
from profbucket.model.ids import ProfileId, profile_prefix
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Meta, Query, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.batches import is_batch_key, read_tables
from profbucket.storage.listing import list_prefix
from profbucket.storage.metadata import from_metadata, to_metadata
from profbucket.storage.sources import range_of_profile
from profbucket.storage.store import Storage
from tests.support.storage.examples import ALL_TIME, NOW, TRICKY_TEXTS, make_meta, read_each
from tests.support.storage.mixtures import MixedStorage

CPU, HEAP, TRACE = ProfileType.CPU, ProfileType.HEAP, ProfileType.TRACE


def make_profile(number: int, **fields: object) -> tuple[Meta, bytes]:
    data = b"profile %d" % number
    return make_meta(NOW + number, data=data, **fields), data  # type: ignore[arg-type]


def write_all(storage: Storage, profiles: Iterable[tuple[Meta, bytes]]) -> None:
    if isinstance(storage, MixedStorage):
        storage.write_mixed(list(profiles))
        return
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda profile: storage.write(*profile), profiles))


def find(
    storage: Storage, labels: str = "", *, service: str = "api", profile_type: ProfileType | None = CPU
) -> list[Meta]:
    return list(storage.lookup.find(Query(service, profile_type, *ALL_TIME, parse_matchers(labels))))


class StorageSuite:
    """Tests of ``storage``."""

    def test_a_written_profile_is_found_and_read(self, storage: Storage) -> None:
        meta, data = make_profile(1, labels="version=0.0.1", totals=[Total("cpu", "nanoseconds", 5)])
        assert storage.write(meta, data) is True
        assert find(storage) == [meta]
        assert storage.read(ProfileId.parse(meta.id)) == data
        assert read_each(storage, [meta.id]) == [data]
        assert storage.index.services() == ["api"]

    def test_a_second_write_changes_nothing_and_says_so(self, storage: Storage) -> None:
        meta, data = make_profile(1, labels="v=1")
        assert storage.write(meta, data) is True
        assert storage.write(meta, data) is False
        assert find(storage) == [meta]
        assert storage.read(ProfileId.parse(meta.id)) == data

    def test_the_object_has_its_key_and_the_metadata_of_its_meta(self, storage: Storage) -> None:
        cpu, trace = make_profile(1, labels="v=1"), make_profile(2, type=TRACE, service="größe 🔥")
        write_all(storage, [cpu, trace])
        for (meta, data), key in zip(
            (cpu, trace),
            (
                r"api/cpu/20261122T225107\.123456790Z-[0-9a-f]{16}\.pb\.gz",
                r"gr~C3~B6~C3~9Fe~20~F0~9F~94~A5/trace/20261122T225107\.123456791Z-[0-9a-f]{16}\.trace",
            ),
            strict=True,
        ):
            (listed,) = list_prefix(storage.bucket, profile_prefix(meta.service))
            assert re.fullmatch(key, listed.key)
            assert storage.bucket.get(listed.key) == data
            obj = storage.bucket.stat(listed.key)
            assert obj.metadata is not None
            assert from_metadata(obj.key, obj.size, obj.metadata) == meta

    def test_the_index_can_be_rebuilt_from_the_bucket(self, storage: Storage) -> None:
        profiles = [
            make_profile(
                number,
                service=service,
                labels=Labels.from_pairs([("text", text)]),
                totals=[Total(text, "ü", -number)],
            )
            for number, text in enumerate(TRICKY_TEXTS)
            for service in ("api", "größe/🔥")
        ]
        write_all(storage, profiles)
        rebuilt = {}
        for listed in storage.bucket.list("", "\x7f"):
            if is_batch_key(listed.key):
                continue
            obj = storage.bucket.stat(listed.key)
            assert obj.metadata is not None
            rebuilt[listed.key] = from_metadata(obj.key, obj.size, obj.metadata)
        for service in ("api", "größe/🔥"):
            for _, table in read_tables(storage.bucket, service):
                assert not isinstance(table, Damaged)
                rebuilt |= {ProfileId.parse(meta.id).object_key: meta for meta in table}
        found = find(storage) + find(storage, service="größe/🔥")
        assert len(found) == len(profiles)
        assert sorted(rebuilt.values(), key=lambda meta: meta.id) == sorted(found, key=lambda meta: meta.id)

    def test_a_write_that_was_cut_off_is_completed_by_the_next(self, storage: Storage) -> None:
        meta, data = make_profile(1, labels="v=1")
        storage.bucket.put(ProfileId.parse(meta.id).object_key, data, to_metadata(meta))
        assert find(storage) == []
        assert storage.write(meta, data) is True
        assert find(storage) == [meta]
        assert storage.write(meta, data) is False

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
    def test_label_matchers_select_profiles(self, storage: Storage, labels: str, versions: list[str]) -> None:
        other_labels = {"": "", "0.0.1": ",env=prod", "0.0.2": ",env=test", "0.0.20": ",env=prod", "v0.0.2": ""}
        write_all(
            storage,
            [
                make_profile(
                    number,
                    service=service,
                    type=profile_type,
                    labels=f"version={version}{others}" if version else "",
                )
                for number, (version, others) in enumerate(other_labels.items())
                for profile_type in (CPU, HEAP)
                for service in ("api", "other")
            ],
        )
        assert [meta.labels.get("version") for meta in find(storage, labels)] == versions
        assert [meta.type for meta in find(storage, labels, profile_type=None)] == [
            profile_type for _ in versions for profile_type in (CPU, HEAP)
        ]

    @pytest.mark.parametrize("text", TRICKY_TEXTS)
    def test_any_text_can_be_a_service_and_a_label_value(self, storage: Storage, text: str) -> None:
        labels = Labels.from_pairs([("text", text)])
        meta, other = (
            make_profile(1, service=text, labels=labels),
            make_profile(2, service=text, labels="text=other"),
        )
        write_all(storage, [meta, other])
        assert find(storage, labels.format(), service=text) == [meta[0]]
        assert find(storage, "text=other", service=text) == [other[0]]
        assert storage.index.services() == [text]

    @pytest.mark.parametrize("labels", ["", "v=~.*"], ids=["no labels", "labels"])
    def test_a_find_has_a_range_a_limit_and_a_position_to_continue_from(
        self, storage: Storage, labels: str
    ) -> None:
        profiles = [make_profile(number, labels=f"v={number % 2}") for number in range(6)]
        metas = [meta for meta, _ in profiles]
        write_all(storage, profiles[::-1])
        query = Query("api", CPU, NOW + 1, NOW + 4, parse_matchers(labels))
        assert list(storage.lookup.find(query)) == metas[1:5]
        assert list(storage.lookup.find(replace(query, limit=2))) == metas[1:3]
        assert list(storage.lookup.find(replace(query, limit=2, after=metas[2].position))) == metas[3:5]
        assert list(storage.lookup.find(replace(query, start=NOW + 5, end=NOW + 4))) == []

    def test_reading_a_missing_profile_raises_not_found(self, storage: Storage) -> None:
        meta, data = make_profile(1)
        storage.write(meta, data)
        for other in (
            make_meta(NOW),
            make_meta(NOW + 1, service="other", data=data),
            make_meta(NOW + 1, type=HEAP, data=data),
        ):
            with pytest.raises(NotFound):
                storage.read(ProfileId.parse(other.id))

    def test_a_profile_without_entry_can_be_read_by_its_id(self, storage: Storage) -> None:
        meta, data = make_profile(1)
        storage.write(meta, data)
        storage.index.remove([meta.id])
        assert find(storage) == []
        assert storage.read(ProfileId.parse(meta.id)) == data

    def test_profiles_are_read_in_order_and_expired_ones_are_none(self, storage: Storage) -> None:
        profiles = [make_profile(number, type=(CPU, TRACE)[number % 2]) for number in range(30)]
        write_all(storage, profiles)
        stored = {meta.id: range_of_profile(meta).key for meta in find(storage, profile_type=None)}
        expired = stored[profiles[4][0].id]
        storage.bucket.delete(expired)
        ids = [meta.id for meta, _ in profiles]
        own = {obj.key for obj in storage.bucket.list("", "~")}
        expected = [
            data if stored[meta.id] != expired or ProfileId.parse(meta.id).object_key in own else None
            for meta, data in profiles
        ]
        assert None in expected
        assert read_each(storage, ids) == expected

    def test_services_are_those_with_profiles(self, storage: Storage) -> None:
        assert storage.index.services() == []
        write_all(
            storage, [make_profile(1, service=service) for service in ("web", "api", "größe", "api/v2", "_")]
        )
        assert storage.index.services() == ["_", "api", "api/v2", "größe", "web"]

    def test_one_of_concurrent_writes_of_a_profile_reports_it_as_new(self, storage: Storage) -> None:
        profiles = [make_profile(number, labels=f"v={number % 3}") for number in range(12)]
        with ThreadPoolExecutor(8) as threads:
            for meta in profiles:
                assert list(threads.map(lambda _, meta=meta: storage.write(*meta), range(8))).count(True) == 1
        assert find(storage) == [meta for meta, _ in profiles]

    def test_concurrently_written_profiles_are_all_found_and_read(self, storage: Storage) -> None:
        profiles = [
            make_profile(
                number, service=f"service-{number % 3}", type=(CPU, HEAP)[number % 2], labels=f"pod={number % 20}"
            )
            for number in range(150)
        ]
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(lambda meta: storage.write(*meta), profiles * 2)).count(True) == 150
        data = dict(profiles)
        for service in ("service-0", "service-1", "service-2"):
            found = find(storage, service=service, profile_type=None)
            assert found == [meta for meta, _ in profiles if meta.service == service]
            assert read_each(storage, (meta.id for meta in found)) == [data[meta] for meta in found]
