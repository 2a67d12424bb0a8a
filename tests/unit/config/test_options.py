"""Mount options: one declaration, one order of precedence, errors that say where a value came from."""

import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.config.memory_limit import default_memory
from mountd.config.mount_options import MountOptions
from mountd.config.options import OPTIONS, parse_o_options, settle
from mountd.errors import UsageError

KEYS = {option.key for option in OPTIONS}
# a value of each option that is not its default, as text and as what it settles to
EXAMPLES = {
    "mode": ("stream", "stream"),
    "memory": ("64MiB", 64 << 20),
    "cache_dir": ("/some/where", "/some/where"),
    "cache_size": ("-20GB", "-20GB"),
    "cache_reserve": ("2GiB", 2 << 30),
    "cache_prune_threshold": ("0.8", 0.8),
    "cache_prune_target": ("0.5", 0.5),
    "attr_ttl": ("5m", 300.0),
    "uid": ("12345", 12345),
    "gid": ("23456", 23456),
    "file_mode": ("0600", 0o600),
    "dir_mode": ("711", 0o711),
    "allow_other": ("true", True),
    "request_deadline": ("90", 90.0),
    "fuse_engine": ("libfuse", "libfuse"),
    "passthrough": ("on", True),
}


def test_defaults():
    settled = settle({}, [], {"HOME": "/home/me"}, {})
    assert settled == MountOptions(
        mode="auto",
        memory_bytes=default_memory(),
        cache_dir="/var/cache/mountd" if os.geteuid() == 0 else "/home/me/.cache/mountd",
        cache_size="80%",
        cache_reserve_bytes=1 << 30,
        cache_prune_threshold=1.0,
        cache_prune_target=0.95,
        attr_ttl_s=30.0,
        uid=os.getuid(),
        gid=os.getgid(),
        file_mode=0o644,
        dir_mode=0o755,
        allow_other=False,
        request_deadline_s=60.0,
        fuse_engine="direct",
        passthrough=False,
    )


def test_every_field_is_one_option_and_has_an_example():
    assert sorted(option.field for option in OPTIONS) == sorted(MountOptions.__struct_fields__)
    assert set(EXAMPLES) == KEYS


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
class TestEachOption:
    def settled(self, option, *sources):
        settled = settle(*sources)
        # the types hold too: it survives the way to a worker
        assert msgspec.json.decode(msgspec.json.encode(settled), type=MountOptions) == settled
        return getattr(settled, option.field)

    def test_every_source_is_heard(self, option):
        text, value = EXAMPLES[option.key]
        assert self.settled(option, {}, [], {}, {}) != value
        assert self.settled(option, {option.key: text}, [], {}, {}) == value
        assert self.settled(option, {option.flag: text}, [], {}, {}) == value
        assert self.settled(option, {}, [f"{option.key}={text}"], {}, {}) == value
        assert self.settled(option, {}, [f"{option.key.replace('_', '-')}={text}"], {}, {}) == value
        assert self.settled(option, {}, [], {f"MOUNTD_{option.key.upper()}": text}, {}) == value
        assert self.settled(option, {}, [], {}, {option.key: text}) == value

    def test_what_says_nothing_is_passed_over(self, option):
        default = self.settled(option, {}, [], {}, {})
        environ = {option.variable: ""} | ({option.dataset_variable: ""} if option.dataset_variable else {})
        assert self.settled(option, {option.key: None}, ["", ","], environ, {option.key: None}) == default

    def test_a_bad_value_says_where_it_came_from(self, option):
        bad = "\0"
        cases = [
            (option.flag, ({option.key: bad}, [], {}, {})),
            (f"-o {option.key}", ({}, [f"{option.key}={bad}"], {}, {})),
            (option.variable, ({}, [], {option.variable: bad}, {})),
            (f"config.yaml: {option.key}", ({}, [], {}, {option.key: bad})),
        ]
        if option.dataset_variable:
            cases.append((option.dataset_variable, ({}, [], {option.dataset_variable: bad}, {})))
        for origin, sources in cases:
            with pytest.raises(UsageError) as caught:
                settle(*sources)
            assert caught.value.message.startswith(f"{origin}: ")


LEVELS = [
    ("config.yaml", lambda text: ({}, [], {}, {"attr_ttl": text}), "1", 1.0),
    ("DATASET_", lambda text: ({}, [], {"DATASET_MOUNT_ATTRIBUTE_CACHE_TTL": text}, {}), "2000", 2.0),
    ("MOUNTD_", lambda text: ({}, [], {"MOUNTD_ATTR_TTL": text}, {}), "3", 3.0),
    ("flag", lambda text: ({"attr_ttl": text}, [], {}, {}), "4", 4.0),
]


@given(levels=st.lists(st.sampled_from(range(4)), unique=True), datastore=st.none() | st.just(0.5))
@settings(deadline=None)
def test_the_strongest_source_wins_and_the_others_are_not_even_read(levels, datastore):
    flags, environ, config = {}, {}, {}
    for level in levels:
        _, source, text, _ = LEVELS[level]
        flag, _, variables, settings = source(text if level == max(levels) else "nonsense")
        flags |= flag
        environ |= variables
        config |= settings
    settled = settle(flags, [], environ, config, datastore_ttl_s=datastore)
    expected = LEVELS[max(levels)][3] if levels else 30.0 if datastore is None else datastore
    assert settled.attr_ttl_s == expected


class TestValues:
    @pytest.mark.parametrize(
        ("key", "text", "value"),
        [
            ("attr_ttl", "0", 0.0),
            ("attr_ttl", "500ms", 0.5),
            ("attr_ttl", "never", 1e9),
            ("attr_ttl", "inf", 1e9),
            ("attr_ttl", "9" * 400, 1e9),
            ("memory", "1.5GiB", 3 << 29),
            ("memory", "16MiB", 16 << 20),
            ("cache_size", "+10GB", "10GB"),
            ("cache_size", " 5 % ", "5%"),
            ("file_mode", "0o640", 0o640),
            ("allow_other", "No", False),
        ],
    )
    def test_good(self, key, text, value):
        assert value in msgspec.structs.astuple(settle({key: text}, [], {}, {}))

    @pytest.mark.parametrize(
        ("key", "text", "part"),
        [
            ("cache_prune_target", "1.5", "between 0 and 1"),
            ("mode", "Stream", "not a mode"),
            ("memory", "0", "too little"),
            ("memory", "15MiB", "too little"),
            ("memory", "-1", "not a size"),
            ("memory", "9" * 400, "memory"),
            ("cache_size", "0%", "between 1% and 100%"),
            ("cache_size", "101%", "between 1% and 100%"),
            ("cache_size", "--1", "not a size"),
            ("attr_ttl", "-1", "not a duration"),
            ("attr_ttl", "", "not a duration"),
            ("uid", "root", "numeric id"),
            ("uid", "4294967295", "numeric id"),
            ("gid", "-1", "numeric id"),
            ("file_mode", "888", "octal"),
            ("file_mode", "4755", "octal"),
            ("allow_other", "maybe", "neither true nor false"),
            ("request_deadline", "0", "between 1s and 1d"),
            ("fuse_engine", "pyfuse3", "use direct or libfuse"),
            ("cache_dir", "", "must name a directory"),
        ],
    )
    def test_bad(self, key, text, part):
        with pytest.raises(UsageError) as caught:
            settle({key: text}, [], {}, {})
        assert part in caught.value.message

    def test_a_relative_directory_starts_here(self):
        assert settle({"cache_dir": "x"}, [], {}, {}).cache_dir == os.path.join(os.getcwd(), "x")


class TestAzureMlsVariables:
    def test_units(self):
        environ = {
            "DATASET_MOUNT_ATTRIBUTE_CACHE_TTL": "1500",
            "DATASET_MOUNT_CACHE_SIZE": "-20GB",
            "DATASET_MOUNT_MEMORY_CACHE_SIZE": "134217728",
        }
        settled = settle({}, [], environ, {})
        assert (settled.attr_ttl_s, settled.cache_size, settled.memory_bytes) == (1.5, "-20GB", 128 << 20)

    def test_no_memory_becomes_the_least_that_works(self):
        assert settle({}, [], {"DATASET_MOUNT_MEMORY_CACHE_SIZE": "0"}, {}).memory_bytes == 16 << 20

    def test_a_unit_they_do_not_have_is_refused(self):
        with pytest.raises(UsageError, match=r"DATASET_MOUNT_ATTRIBUTE_CACHE_TTL: .*milliseconds"):
            settle({}, [], {"DATASET_MOUNT_ATTRIBUTE_CACHE_TTL": "30s"}, {})


class TestOOptions:
    def test_lists_and_spellings(self):
        pairs = parse_o_options(["uid=1, dir-mode=0700", "allow_other,UID=2", ""])
        assert pairs == {"uid": "2", "dir_mode": "0700", "allow_other": "true"}

    def test_a_value_may_hold_an_equals_sign(self):
        assert parse_o_options(["cache_dir=/a=b"]) == {"cache_dir": "/a=b"}

    def test_allow_other_alone_and_with_a_value(self):
        assert settle({}, ["allow_other"], {}, {}).allow_other
        assert settle({"allow-other": "true"}, [], {}, {}).allow_other
        assert not settle({}, ["allow-other=false"], {"MOUNTD_ALLOW_OTHER": "1"}, {}).allow_other

    def test_the_flag_and_o_may_agree(self):
        assert settle({"uid": "7"}, ["uid=7"], {}, {}).uid == 7
        with pytest.raises(UsageError, match="--uid and -o uid: say different things"):
            settle({"uid": "7"}, ["uid=8"], {}, {})

    def test_ro_is_what_a_mount_is_and_rw_is_not(self):
        assert settle({}, ["ro"], {}, {}) == settle({}, [], {}, {})
        for asked in ("rw", "rw=on", "ro=false"):
            with pytest.raises(UsageError, match=f"-o {asked.split('=')[0]}=.*: writing through a mount"):
                settle({}, [asked], {}, {})
        settle({}, ["rw=false"], {}, {})
        with pytest.raises(UsageError, match="-o ro: 'maybe' is neither"):
            settle({}, ["ro=maybe"], {}, {})

    @pytest.mark.parametrize("text", ["colour=red", "colour", "=", "=x", "memory_bytes=1"])
    def test_unknown(self, text):
        with pytest.raises(UsageError, match="is no mount option; there are mode, memory"):
            settle({}, [text], {}, {})

    def test_a_missing_value(self):
        with pytest.raises(UsageError, match=r"-o attr_ttl: needs a value"):
            settle({}, ["attr_ttl"], {}, {})

    @given(st.lists(st.text()))
    @settings(deadline=None)
    def test_any_text_settles_or_is_refused(self, texts):
        try:
            settle({}, texts, {}, {})
        except UsageError as error:
            assert error.message.startswith("-o ")


class TestConfig:
    def test_plain_yaml_values(self):
        config = {"attr_ttl": 5, "request-deadline": 2.5, "allow_other": True, "uid": 7, "dir_mode": "0700"}
        settled = settle({}, [], {}, config)
        assert (settled.attr_ttl_s, settled.request_deadline_s) == (5.0, 2.5)
        assert (settled.allow_other, settled.uid, settled.dir_mode) == (True, 7, 0o700)

    def test_a_mode_that_yaml_reads_as_another_number(self):
        with pytest.raises(UsageError, match=r"config\.yaml: file_mode: write it in quotes"):
            settle({}, [], {}, {"file_mode": 0o644})

    def test_unknown_keys_and_shapes(self):
        with pytest.raises(UsageError, match=r"config\.yaml: colour: is no mount option"):
            settle({}, [], {}, {"colour": "red"})
        with pytest.raises(UsageError, match=r"config\.yaml: uid: must be one value"):
            settle({}, [], {}, {"uid": [1]})
