"""From SOURCE to a set of files: data YAML, and registered datasets."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.model import (
    DatasetSource,
    DatasetSpec,
    LocalSpec,
    WebSpec,
    local_directories,
)
from mountd.catalog.packed_listing import COLUMNS, Header, PackedSource, seal
from mountd.catalog.resolve import dataset_location, resolve
from mountd.errors import DeniedError, MountdError, NotFoundError, UsageError
from mountd.wire.codec import pack


class TestDataYaml:
    def resolve(self, tmp_path, text, workspace=None):
        (tmp_path / "assets").mkdir()
        (tmp_path / "assets" / "data.yml").write_text(text)
        return resolve("assets/data.yml", workspace=workspace, environ={}, cwd=tmp_path)

    def test_a_uri(self, tmp_path, workspace):
        text = (
            "$schema: https://azuremlschemas.azureedge.net/latest/data.schema.json\n"
            "type: uri_folder\nname: cifar\nversion: 1\ndescription: x\n"
            "path: azureml://datastores/workspaceblobstore/paths/cifar/\n"
        )
        found = self.resolve(tmp_path, text, workspace)
        assert (found.path, found.source) == ("cifar", "assets/data.yml")

    def test_a_path_beside_it(self, tmp_path):
        (tmp_path / "x").mkdir()
        assert self.resolve(tmp_path, "path: ../x").store == LocalSpec(path=str(tmp_path / "x"))

    def test_a_directory_of_that_name(self, tmp_path):
        (tmp_path / "dir.yml").mkdir()
        found = resolve("dir.yml", workspace=None, environ={}, cwd=tmp_path)
        assert found.store == LocalSpec(path=str(tmp_path / "dir.yml"))

    def test_the_file_itself(self, tmp_path):
        (tmp_path / "data.yml").write_text("a: 1")
        found = resolve(f"file://{tmp_path}/data.yml", workspace=None, environ={}, cwd=tmp_path)
        assert found.path == "data.yml"

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("a: 1", "path: is missing"),
            ("- x", "path: is missing"),
            ("path: 3", "path: Expected `str"),
            ("{path: x, typ: uri_file}", "typ: is not a known field"),
            ("{path: x, paths: [y], type: file_dataset}", "path: and paths: are both given"),
            ("paths: []", "paths: is empty"),
            ("paths: [x]", "paths: goes with type: file_dataset"),
            ("{path: x, steps: [{type: take, count: 1}]}", "steps: goes with type: file_dataset"),
            ("{type: file_dataset, path: x, steps: [{type: take, count: -1}]}", "-1 files"),
            ("{type: file_dataset, path: x, steps: [{type: jump}]}", "steps"),
            ("{type: file_dataset, paths: [azureml:x]}", "cannot be a part of another"),
            ("{path: x, type: table}", "type: 'table' is none of "),
            ("path: other.yml", "names another YAML file"),
            ("path: s3://bucket", "s3://"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, part):
        with pytest.raises(UsageError) as caught:
            self.resolve(tmp_path, text)
        assert part in caught.value.message

    def test_unreadable(self, tmp_path, as_nobody):
        (tmp_path / "data.yml").write_text("path: x")
        (tmp_path / "data.yml").chmod(0)
        with as_nobody(), pytest.raises(DeniedError):
            resolve(f"{tmp_path}/data.yml", workspace=None, environ={}, cwd=tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(NotFoundError, match=r"nope\.yml"):
            resolve("nope.yml", workspace=None, environ={}, cwd=tmp_path)


@given(text=st.text(min_size=1), must_exist=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_text_resolves_or_fails_as_documented(text, must_exist, tmp_path_factory):
    cwd = tmp_path_factory.getbasetemp()
    try:
        found = resolve(text, workspace=None, environ={}, cwd=cwd, must_exist=must_exist)
    except MountdError as error:
        assert isinstance(error, UsageError | NotFoundError | DeniedError)
    else:
        assert found.source

    def test_a_table_shows_its_directory(self, tmp_path):
        (tmp_path / "x").mkdir()
        assert self.resolve(tmp_path, "{path: ../x, type: mltable}").store == LocalSpec(path=str(tmp_path / "x"))

    def test_a_pattern_and_a_list_are_datasets(self, tmp_path, workspace):
        (tmp_path / "x").mkdir()
        found = self.resolve(tmp_path, "path: ../x/*.csv")
        assert (found.source, found.path, found.attr_ttl_s) == ("assets/data.yml", "", math.inf)
        here = LocalSpec(path=str(tmp_path / "x"))
        assert found.store == DatasetSpec(
            name="assets/data.yml",
            stores=(here,),
            sources=(DatasetSource(store=0, path="", pattern="*.csv", text="../x/*.csv"),),
        )
        assert local_directories(found) == [tmp_path / "x"]


class TestDatasets:
    def test_one_is_small_and_says_where_its_listing_is(self, tmp_path, workspace):
        paths = ["azureml://datastores/workspaceblobstore/paths/a", "azureml://datastores/workspaceblobstore/paths/b*"]
        made = DatasetRegistry(workspace).register(define(paths, environ={}, cwd=tmp_path), "cifar").dataset
        storage = LocalSpec(path=str(workspace.directory / "storage" / "workspaceblobstore"))
        for text in ("azureml:cifar:1", "azureml:cifar", "azureml:cifar@latest"):
            found = resolve(text, workspace=workspace, environ={}, cwd=tmp_path)
            assert (found.source, found.path, found.attr_ttl_s) == ("azureml:cifar:1", "", math.inf)
            assert found.store == DatasetSpec(
                name="cifar:1",
                stores=(storage,),
                sources=(
                    DatasetSource(store=0, path="a", text=paths[0]),
                    DatasetSource(store=0, path="", pattern="b*", text=paths[1]),
                ),
                listing=str(made.listing),
            )
        assert dataset_location(made, workspace=workspace, environ={}, cwd=tmp_path).store == found.store

    def test_a_pinned_one_travels_without_its_sources(self, tmp_path, workspace):
        paths = [f"{tmp_path}/{number}*" for number in range(1000)]
        made = DatasetRegistry(workspace).register(define(paths, environ={}, cwd=tmp_path), "many").dataset
        assert len(resolve("azureml:many", workspace=workspace, environ={}, cwd=tmp_path).store.sources) == 1000
        made.listing.touch()
        found = resolve("azureml:many", workspace=workspace, environ={}, cwd=tmp_path)
        assert found.store.sources == ()
        assert len(pack(found)) < 1000

    def test_the_listing_says_which_store_is_which(self, tmp_path, workspace):
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
        (tmp_path / "one/file").touch()
        (tmp_path / "link").symlink_to("two")
        paths = [str(tmp_path / name) for name in ("one/file", "link", "three")]
        made = DatasetRegistry(workspace).register(define(paths, environ={}, cwd=tmp_path), "d").dataset
        sources = (PackedSource(0, "file", "one/file"), PackedSource(1, "", "two/"), PackedSource(2, "", "three/"))
        counts = dict.fromkeys(COLUMNS, 0)
        header = Header(
            single_file=False, labels=("", "", ""), sources=sources, hidden=(), hidden_count=0, counts=counts
        )
        made.listing.write_bytes(seal(header, dict.fromkeys(COLUMNS, b"")))
        (tmp_path / "one/file").unlink()
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("one")
        (tmp_path / "three").rmdir()
        found = resolve("azureml:d", workspace=workspace, environ={}, cwd=tmp_path)
        one, three = (LocalSpec(path=str(tmp_path / name)) for name in ("one", "three"))
        assert found.store.stores == (one, one, three)

    def test_it_needs_a_workspace_that_has_it(self, tmp_path, workspace):
        with pytest.raises(NotFoundError, match="no workspace"):
            resolve("azureml:cifar:1", workspace=None, environ={}, cwd=tmp_path)
        with pytest.raises(NotFoundError, match='name "cifar"'):
            resolve("azureml:cifar:1", workspace=workspace, environ={}, cwd=tmp_path)

    def test_one_of_another_workspace_is_refused(self, tmp_path, workspace):
        config = json.loads((workspace.directory / "config.json").read_text()) | {"subscription_id": "mine"}
        (workspace.directory / "config.json").write_text(json.dumps(config))
        text = "azureml://subscriptions/other/resourcegroups/r/workspaces/w/data/cifar/versions/1"
        with pytest.raises(UsageError, match="is of another workspace"):
            resolve(text, workspace=workspace, environ={}, cwd=tmp_path)

    def test_one_that_nobody_keeps(self, tmp_path, workspace):
        definition = define([str(tmp_path / "x*"), str(tmp_path)], environ={}, cwd=tmp_path)
        found = dataset_location(definition, workspace=None, environ={}, cwd=tmp_path)
        assert (found.source, found.store.listing) == ("2 paths", None)

    def test_all_web_files_are_one_store(self, tmp_path):
        paths = [
            "http://one.example/d/a?token=hunter2",
            "https://two.example/b",
            "http://one.example/d/a?token=hunter2",
        ]
        found = dataset_location(define(paths, environ={}, cwd=tmp_path), workspace=None, environ={}, cwd=tmp_path)
        (web,) = found.store.stores
        assert [file.key for file in web.files] == ["http/one.example/d/a", "https/two.example/b"]
        assert [(source.path, source.is_file) for source in found.store.sources] == [
            ("http/one.example/d/a", True),
            ("https/two.example/b", True),
            ("http/one.example/d/a", True),
        ]
        assert "hunter2" not in repr(found)
        twice = define(["http://one.example/d/a?token=hunter2", "http://one.example/d/a"], environ={}, cwd=tmp_path)
        with pytest.raises(UsageError, match=r"one\.example/d/a.* both show something at") as caught:
            dataset_location(twice, workspace=None, environ={}, cwd=tmp_path)
        assert "hunter2" not in caught.value.message

    @pytest.mark.parametrize(
        ("text", "path", "pattern"),
        [
            ("azureml://datastores/workspaceblobstore/paths/a/**/*.jpg", "a", "**/*.jpg"),
            ("https://acct.blob.core.windows.net/data/d*/x?sv=1&sig=hunter2", "", "d*/x"),
            ("{here}/*.csv", "", "*.csv"),
            ("*.csv", "", "*.csv"),
        ],
    )
    def test_a_pattern_is_a_dataset_of_its_own(self, tmp_path, workspace, text, path, pattern):
        found = resolve(text.format(here=tmp_path), workspace=workspace, environ={}, cwd=tmp_path)
        (source,) = found.store.sources
        assert (source.path, source.pattern, found.store.listing) == (path, pattern, None)
        assert "hunter2" not in repr(found)

    def test_a_star_may_belong_to_a_name(self, tmp_path, workspace):
        (tmp_path / "a*").touch()
        assert resolve("a*", workspace=None, environ={}, cwd=tmp_path).path == "a*"
        uri = "azureml://datastores/workspaceblobstore/paths/"
        assert resolve(f"{uri}a%2Ab", workspace=workspace, environ={}, cwd=tmp_path).path == "a*b"
        target = resolve(f"{uri}a*b", workspace=workspace, environ={}, cwd=tmp_path, must_exist=False)
        assert target.path == "a*b"
        assert isinstance(resolve("http://h.example/a*b", workspace=None, environ={}, cwd=tmp_path).store, WebSpec)
