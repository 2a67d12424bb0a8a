import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.observe.redaction import MASK, redact, redact_value

KEY = base64.b64encode(bytes(range(64))).decode()
SIG = "u%2Bx7Qk1z9aBcDeFgHiJkLmNoPqRsTuVwXyZ012345%3D"


@pytest.mark.parametrize(
    "text",
    [
        f"https://a.blob.core.windows.net/c/p?sv=2024-01-01&sig={SIG}&se=2030",
        f"GET https://a/c?sig={SIG} failed",
        f"{{'sig': '{SIG}'}}",
        f"SIG={SIG}",
        f"SharedAccessSignature=sv=2024&sig={SIG}&se=2030;BlobEndpoint=https://a",
        f"SharedAccessSignature=sv=2024&se={SIG};BlobEndpoint=https://a",
    ],
)
def test_a_signature_goes(text):
    assert SIG not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY};EndpointSuffix=core.windows.net",
        f"account_key: {KEY}",
        f'{{"account_key": "{KEY}"}}',
        f"AccountKey(key='{KEY}')",
        f"the key {KEY} is wrong",
        f"AZURE_STORAGE_KEY={KEY}",
        f"Authorization: SharedKey a:{KEY}",
    ],
)
def test_an_account_key_goes(text):
    assert KEY not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "f.yml: credentials.account_key: is not an account key (base64 text)",
        "AZURE_STORAGE_SAS_TOKEN.sas_token: is not a SAS (a query string with sig=)",
        "AZURE_STORAGE_CONNECTION_STRING: not a connection string",
        "f.yml: credentials.account_key: Expected `str | null`, got `int`",
        "password: must be text",
    ],
)
def test_what_is_wrong_with_a_secret_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize("secret", ["is", "isnt", "not", "must-have", "Expected1"])
def test_a_secret_that_begins_like_it_goes(secret):
    assert secret not in redact(f"account_key: {secret}; password={secret}")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOi.x.y", "eyJ0eXAi"),
        ("'Authorization': 'SharedKey devstoreaccount1:abc+def/ghi='", "abc+def"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
        ("headers: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOi", "eyJ0eXAi"),
        ("password=hunter2 user=x", "hunter2"),
        ("client_secret: abc~def", "abc~def"),
        ("https://user:hunter2@example.com/x", "hunter2"),
        ("AZURE_STORAGE_SAS_TOKEN=sv=1&x", "sv=1"),
    ],
)
def test_other_secrets_go(text, secret):
    assert secret not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "mounted azureml://datastores/workspaceblobstore/paths/train at /mnt/data",
        "read signal.txt: 3.1 s, try 2",
        "killed by SIGKILL",
        "AccountName=devstoreaccount1",
        "design=1 config=2 assign: 3",
        "a" * 86,
        "",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


def test_what_stands_around_a_secret_stays():
    assert redact(f"GET /c/p?sv=2024&sig={SIG}&se=2030 -> 403") == "GET /c/p?sv=2024&sig=***&se=2030 -> 403"


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def plant(value, secret, path):
    """Return `value` with `secret` somewhere in it."""
    if isinstance(value, list):
        return [*value, plant(None, secret, path)]
    if isinstance(value, dict):
        return {**value, "where": plant(None, secret, path)}
    return [f"x?sig={secret}", (f"AccountKey={secret}",), {"account_key": secret}, secret.encode()][path]


@given(nested, st.integers(0, 2))
def test_secrets_go_however_deep(value, path):
    assert SIG not in json.dumps(redact_value(plant([value], SIG, path)))


@given(nested)
def test_plain_values_keep_their_shape(value):
    shaped = redact_value(value)
    assert type(shaped) is type(value) or isinstance(value, tuple)
    if not isinstance(value, str):
        assert json.dumps(shaped) == json.dumps(redact_value(shaped))


def test_other_objects_become_redacted_text():
    class Holder:
        def __str__(self):
            return f"Holder(sig={SIG})"

    assert redact_value(Holder()) == "Holder(sig=***)"
    assert redact_value({"error": ValueError(f"sig={SIG}")}) == {"error": "sig=***"}
    assert redact_value(f"AccountKey={KEY}".encode()) == "AccountKey=***"


@given(st.text(max_size=300))
def test_redacting_twice_changes_nothing_more(text):
    assert redact(redact(text)) == redact(text)
