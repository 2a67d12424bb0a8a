"""Registered datasets: names, versions, identity, files, and many who register at once."""

import stat
import threading

import pytest
import yaml
from msgspec.structs import replace

from mountd.catalog.dataset import DatasetDefinition, datastore_path, define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.selection import Filter, Take
from mountd.catalog.workspace import Workspace
from mountd.errors import ExistsError, NotFoundError, UsageError

STORE = "azureml://datastores/ds/paths"


@pytest.fixture
def registry(tmp_path):
    return DatasetRegistry(Workspace.init(tmp_path))


@pytest.fixture
def make(tmp_path):
    return lambda *paths, **fields: define(paths, environ={}, cwd=tmp_path, **fields)


def test_a_dataset_comes_back_as_it_was_registered(registry, make):
    definition = make(f"{STORE}/a/**/*.jpg", f"{STORE}/b", steps=[Take(3), Filter(["<", "Size", 9])])
    made = registry.register(definition, "cifar", description="d é", tags={"k": "v", "n": 1}).dataset
    assert (made.version, made.title) == ("1", "cifar:1")
    assert registry.get("cifar") == registry.get("cifar", "1") == registry.get_by_id(made.id.upper()) == made
    assert registry.names() == ["cifar"]
    assert registry.latest() == [made]


def test_files_are_for_their_owner_only_and_azure_ml_can_read_them(registry, make):
    made = registry.register(make(f"{STORE}/d", type="uri_folder"), "cifar").dataset
    path = registry.directory / "cifar" / "1.yml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IMODE(registry.directory.stat().st_mode) == 0o700
    fields = yaml.safe_load(path.read_text())
    assert fields.keys() <= {"$schema", "name", "version", "type", "path", "properties"}
    assert (fields["type"], fields["path"], fields["version"]) == ("uri_folder", f"{STORE}/d", "1")
    assert made.listing.parent == path.parent


@pytest.mark.parametrize("name", ["plain", "two words", "a%20b", "st*r", "é"])
def test_a_directory_of_this_node_is_written_as_azure_ml_reads_it(registry, make, tmp_path, name):
    (tmp_path / name).mkdir()
    made = registry.register(make(f"./{name}", type="uri_folder"), "d").dataset
    fields = yaml.safe_load((registry.directory / "d" / "1.yml").read_text())
    assert fields["path"] == str(tmp_path / name)
    assert registry.get("d").definition == made.definition
    assert registry.get("d").definition.digest == made.definition.digest


def test_the_same_definition_is_registered_once(registry, make):
    first = registry.register(make(f"{STORE}/d"), "cifar")
    assert first.made
    for again in (False, True):
        same = registry.register(make(f"{STORE}/d/", type="uri_folder"), "cifar", new_version=again)
        assert same == (first.dataset, False, False)
    assert [dataset.version for dataset in registry.versions("cifar")] == ["1"]


def test_registered_again_it_gets_what_is_said_for_people(registry, make):
    first = registry.register(make(f"{STORE}/d"), "cifar", description="d", tags={"a": "b"}).dataset
    again = registry.register(make(f"{STORE}/d"), "cifar", tags={"c": "d"})
    assert (again.made, again.updated) == (False, True)
    assert (again.dataset.description, again.dataset.tags) == ("d", {"a": "b", "c": "d"})
    assert registry.get("cifar") == again.dataset
    assert (again.dataset.id, again.dataset.listing) == (first.id, first.listing)
    assert registry.register(make(f"{STORE}/d"), "cifar", description="d", tags={"a": "b"}).updated is False


def test_the_same_definition_becomes_a_version_where_that_is_asked_for(registry, make):
    definition = make(f"{STORE}/d")
    assert registry.identical(definition, "cifar") is None
    registry.register(definition, "cifar")
    second = registry.register(definition, "cifar", new_version=True, even_if_identical=True).dataset
    assert second.version == "2"
    assert registry.identical(definition, "cifar") == second
    with pytest.raises(ExistsError):
        registry.register(definition, "cifar", even_if_identical=True)


def test_another_definition_needs_to_be_asked_for(registry, make):
    registry.register(make(f"{STORE}/d"), "cifar")
    with pytest.raises(ExistsError, match=r'already a dataset registered under name "cifar". Specify `create_new_ver'):
        registry.register(make(f"{STORE}/e"), "cifar")
    second = registry.register(make(f"{STORE}/e"), "cifar", new_version=True)
    assert (second.dataset.version, second.made) == ("2", True)
    assert registry.get("cifar", "latest") == second.dataset


def test_a_version_of_ones_own(registry, make):
    registry.register(make(f"{STORE}/d"), "cifar", version="2026-01.1")
    registry.register(make(f"{STORE}/e"), "cifar", new_version=True)
    assert [dataset.version for dataset in registry.versions("cifar")] == ["2026-01.1", "1"]
    with pytest.raises(ExistsError, match="exists and never changes"):
        registry.register(make(f"{STORE}/f"), "cifar", version="1")
    for version in ("latest", "", "a/b", "..", "x" * 31):
        with pytest.raises(UsageError, match="is no version"):
            registry.register(make(f"{STORE}/f"), "cifar", version=version)


def test_what_is_not_there_is_said_as_azure_ml_says_it(registry, make):
    registry.register(make(f"{STORE}/d"), "cifar")
    with pytest.raises(NotFoundError, match=r'Cannot find dataset registered with name "mnist" in the workspace\.$'):
        registry.get("mnist")
    with pytest.raises(NotFoundError, match=r'name "cifar" \(version: 9\) in the workspace.'):
        registry.get("cifar", "9")
    for identifier in ("nope", "00000000-0000-0000-0000-000000000000", "../../etc"):
        with pytest.raises(NotFoundError, match="Cannot find dataset with id"):
            registry.get_by_id(identifier)
    for name in ("", "a/b", "..", ".definitions", "ä", "x" * 256):
        with pytest.raises(UsageError, match="is no dataset's name"):
            registry.register(make(f"{STORE}/d"), name)


def test_a_removed_version_leaves_nothing_behind(registry, make):
    first = registry.register(make(f"{STORE}/d"), "cifar").dataset
    second = registry.register(make(f"{STORE}/e"), "cifar", new_version=True).dataset
    first.listing.touch()
    assert registry.remove("cifar", "1") == [first]
    assert not first.listing.exists()
    assert registry.versions("cifar") == [second]
    registry.remove("cifar")
    assert not (registry.directory / "cifar").exists()
    again = registry.register(make(f"{STORE}/f"), "cifar").dataset
    assert again.version == "1"
    assert again.listing != first.listing


def test_description_and_tags_can_change(registry, make):
    made = registry.register(make(f"{STORE}/d"), "cifar", tags={"a": "b"}).dataset
    registry.update(made, lambda found: replace(found, description="new", tags={"c": "d"}))
    found = registry.get("cifar")
    assert (found.description, found.tags, found.id, found.created) == ("new", {"c": "d"}, made.id, made.created)


def test_nobodys_change_is_lost(registry, make):
    made = registry.register(make(f"{STORE}/d"), "cifar").dataset

    def add(number):
        registry.update(made, lambda found: replace(found, tags={**found.tags, str(number): number}))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.get("cifar").tags == {str(number): number for number in range(8)}


def test_what_was_removed_does_not_come_back(registry, make):
    made = registry.register(make(f"{STORE}/d"), "cifar").dataset
    registry.remove("cifar")
    with pytest.raises(NotFoundError):
        registry.update(made, lambda found: found)
    registry.register(make(f"{STORE}/d"), "cifar")
    with pytest.raises(NotFoundError, match=f'with id "{made.id}"'):
        registry.update(made, lambda found: found)
    assert stat.S_IMODE((registry.directory / ".lock").stat().st_mode) == 0o600


def test_a_definition_can_be_kept_without_a_name(registry, make):
    kept = registry.save(make(f"{STORE}/d"))
    assert (kept.name, kept.title) == (None, kept.id)
    assert registry.save(make(f"{STORE}/d/", type="uri_folder")).id == kept.id
    assert registry.save(make(f"{STORE}/e")).id != kept.id
    assert registry.get_by_id(kept.id) == kept
    assert registry.names() == []


def test_of_many_who_register_at_once_none_is_lost(registry, make):
    outcomes = []
    definitions = [make(f"{STORE}/{n // 2}") for n in range(16)]
    ready = threading.Barrier(len(definitions))

    def register(definition):
        ready.wait()
        outcomes.append((definition, registry.register(definition, "cifar", new_version=True)))

    threads = [threading.Thread(target=register, args=(definition,)) for definition in definitions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for definition, registration in outcomes:
        assert registry.get("cifar", registration.dataset.version).definition.digest == definition.digest
    versions = [dataset.version for dataset in registry.versions("cifar")]
    assert sorted(map(int, versions)) == list(range(1, len(versions) + 1))
    assert len({registration.dataset.id for _, registration in outcomes if registration.made}) == len(versions)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path: x", "lacks mountd.id"),
        ("path: [", "not well-formed"),
        ("path: x\nproperties: {mountd.id: 1, mountd.created: x}", "lacks mountd.id"),
    ],
)
def test_a_file_that_is_none_of_ours_is_named(registry, text, why):
    place = registry.directory / "cifar"
    place.mkdir(parents=True)
    (place / "1.yml").write_text(text)
    with pytest.raises(UsageError, match=rf"1\.yml.*{why}"):
        registry.get("cifar")


def test_a_file_in_the_wrong_place_is_named(registry, make):
    registry.register(make(f"{STORE}/d"), "cifar")
    (registry.directory / "cifar" / "1.yml").rename(registry.directory / "cifar" / "7.yml")
    with pytest.raises(UsageError, match="is of cifar:1"):
        registry.get("cifar")


# ---- definitions


def test_paths_have_one_spelling(make, tmp_path):
    assert make("d/*.csv", "./e", "f%*").paths == (
        f"file://{tmp_path}/d/*.csv",
        f"file://{tmp_path}/e",
        f"file://{tmp_path}/f%25*",
    )
    (tmp_path / "g*").touch()
    assert make("g*").paths == (f"file://{tmp_path}/g%2A",)
    assert make("azureml://datastores/DS/paths//a/./b c/").paths == ("azureml://datastores/ds/paths/a/b%20c",)
    assert make("azureml://datastores/ds/paths/a%2A/x*").paths == ("azureml://datastores/ds/paths/a%2A/x*",)
    assert make("wasbs://con@acct.blob.core.windows.net/p/**").paths == ("https://acct.blob.core.windows.net/con/p/**",)
    definition = make("d/*.csv", f"{STORE}/a%2A/x*")
    assert make(*definition.paths) == definition


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("https://acct.blob.core.windows.net/con/p?sv=1&sig=hunter2", "outlives its SAS"),
        ("azureml:other:1", "cannot be a part of another"),
        (f"{STORE}/a*/../b", r"`\.\.` segment"),
        ("", "is empty"),
    ],
)
def test_a_path_that_no_dataset_can_have_is_refused(make, path, why):
    with pytest.raises(UsageError, match=why) as refused:
        make(path)
    assert "hunter2" not in refused.value.message


def test_tokens_of_web_servers_are_kept_and_never_shown(make):
    definition = make("https://me:hunter2@h.example/d/a.csv?token=hunter2", f"{STORE}/d")
    assert definition.paths[0] == "https://me:hunter2@h.example/d/a.csv?token=hunter2"
    assert definition.shown_paths == ["https://h.example/d/a.csv?***", f"{STORE}/d"]


def test_no_paths_and_too_many_are_refused(make):
    with pytest.raises(UsageError, match="at least one"):
        make()
    with pytest.raises(UsageError, match="takes one path"):
        make("a", "b", type="uri_file")


def test_a_path_in_a_datastore_is_quoted_but_for_its_stars():
    assert datastore_path("ds", "./a b/**/*.jpg") == "azureml://datastores/ds/paths/a%20b/**/*.jpg"
    assert datastore_path("ds", "/") == "azureml://datastores/ds/paths/"
    with pytest.raises(UsageError):
        datastore_path("ds", "../x")


def test_the_digest_of_a_definition_never_changes():
    definition = DatasetDefinition(paths=("azureml://datastores/ds/paths/d",), steps=(Take(3),))
    assert definition.digest == "88c17e5638476de0b7a3cad653796f65d6b65fcbd7097f97f11fa0674475567c"
