"""Takes secrets out of text: the one place that knows what they look like.

It errs towards removing too much: a log line may lose a word, a secret may not pass.
"""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

# Every name under which Azure, HTTP and our own options carry a secret, up to whatever ends its value. What follows
# such a name may also be what is wrong with it, `account_key: is not …`: those words begin no secret.
_NAMED = re.compile(
    r"""(?ix)
    ( (?: \b sig | \b se_?cret | sharedaccesssignature | shared_?access_?key | account_?key | storage_?key | sas_?token
        | client_?secret | access_?token | refresh_?token | api_?key | password | connection_?string )
      ["']? \s* [=:] \s* (?: b?["'] )? )
    (?! (?<= :\ ) (?: is | not | must | Expected ) \s )
    ( [^\s"'&;,<>)\]}]+ )
    """
)
_CONNECTION_SAS = re.compile(r"(?i)(SharedAccessSignature=)[^;\s\"']+")
_AUTHORIZATION = re.compile(
    r"""(?ix) ( authorization ["']? \s* [=:] \s* (?: b?["'] )? )
    (?: (SharedKeyLite|SharedKey|Bearer|Basic) \s+ )? [^\s"',}]+
    """
)
_SCHEME = re.compile(r"(?i)\b(SharedKeyLite|SharedKey|Bearer)\s+[A-Za-z0-9+/=._~:-]{16,}")
_USER_INFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s:@]+:[^/\s@]+@")
# 64 random bytes in base64, the shape of a storage account's key, wherever they stand.
_ACCOUNT_KEY = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}==")


def redact(text: str) -> str:
    """Return `text` with the values of SAS signatures, account keys, tokens and passwords replaced by `***`."""
    text = _CONNECTION_SAS.sub(rf"\1{MASK}", text)
    text = _AUTHORIZATION.sub(lambda match: f"{match[1]}{match[2] + ' ' if match[2] else ''}{MASK}", text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _NAMED.sub(rf"\1{MASK}", text)
    text = _USER_INFO.sub(rf"\1{MASK}@", text)
    return _ACCOUNT_KEY.sub(MASK, text)


def redact_value(value: Any) -> Any:
    """Return `value` with every string in it redacted, however deep; what is not plain data becomes redacted text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return redact(bytes(value).decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {redact(str(key)): _redact_item(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item) for item in value]
    return redact(str(value))


_SECRET_KEY = re.compile(
    r"(?i)^(sig|.*secret.*|.*password.*|.*account_?key.*|.*_token|token|authorization|.*sharedaccess.*|.*connection_?string.*|credential)$"
)


def _redact_item(key: str, value: Any) -> Any:
    # A name alone may tell: {"account_key": "…"} holds a value that looks like nothing.
    if _SECRET_KEY.match(key) and isinstance(value, str | bytes) and value:
        return MASK
    return redact_value(value)
