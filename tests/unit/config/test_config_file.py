"""config.yaml: the administrator's defaults, overridden by the user's."""

import pytest

from mountd.config.config_file import read_config
from mountd.config.options import settle
from mountd.errors import UsageError


@pytest.fixture
def system(tmp_path):
    return tmp_path / "system.yaml"


@pytest.fixture
def user(tmp_path):
    (tmp_path / "xdg" / "mountd").mkdir(parents=True)
    return tmp_path / "xdg" / "mountd" / "config.yaml"


@pytest.fixture
def read(tmp_path, system):
    return lambda: read_config({"XDG_CONFIG_HOME": str(tmp_path / "xdg")}, system)


def test_no_file_says_nothing(read):
    assert read() == {}


def test_the_users_word_counts_option_by_option(read, system, user):
    system.write_text("defaults:\n  memory: 512MiB\n  attr_ttl: 60\n  allow_other: true\n")
    assert read() == {"memory": "512MiB", "attr_ttl": 60, "allow_other": True}
    user.write_text("defaults: {attr_ttl: 5m}")
    settled = settle({}, [], {}, read())
    assert (settled.memory_bytes, settled.attr_ttl_s, settled.allow_other) == (512 << 20, 300.0, True)


def test_the_home_directory_stands_in_for_xdg(tmp_path, system):
    (tmp_path / "home/.config/mountd").mkdir(parents=True)
    (tmp_path / "home/.config/mountd/config.yaml").write_text("defaults: {uid: 7}")
    assert read_config({"HOME": str(tmp_path / "home")}, system) == {"uid": 7}
    assert read_config({"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": "/nowhere"}, system) == {}


def test_an_empty_file_says_nothing(read, user):
    user.write_text("# nothing yet\n")
    assert read() == {}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("- a", "must hold fields"),
        ("1: a", ": holds a key that is no text"),
        ("defaults: {1: a}", "defaults: holds a key that is no text"),
        ('defaults: {memory: "\\ud800"}', "line 1, column 20: not well-formed YAML: half a character"),
        ("memory: 1GB", "memory: is not a known field"),
        ("defaults: 3", "defaults: Expected `object`"),
        ("defaults: {uid: [1]}", "defaults"),
        ("defaults: {uid: 1, uid: 2}", "'uid' is given twice"),
        ("defaults: [", "not well-formed YAML"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_field(read, user, text, part):
    user.write_text(text)
    with pytest.raises(UsageError) as caught:
        read()
    assert caught.value.message.startswith(str(user))
    assert part in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{memory: lots}", "memory: "),
        ("{nope: 1}", "nope: is no mount option"),
        ("{file_mode: 0644}", "file_mode: write it in quotes"),
    ],
)
def test_a_bad_value_is_named_by_its_file(read, user, system, text, said):
    system.write_text("defaults: {uid: 1}")
    user.write_text(f"defaults: {text}")
    with pytest.raises(UsageError) as caught:
        settle({}, [], {}, read())
    assert caught.value.message.startswith(f"{user}: {said}")
