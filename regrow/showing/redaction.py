"""Remove credentials from output and records, whatever form of address contains them.

A password may hold any character, also those that end it by the rules for addresses (``/``, ``#``, ``?``, ``@``,
quotes). Where what follows a colon cannot be a port, all up to the last ``@`` is therefore taken for a password. What
only looks a little like one stays: ``models:/x@champion``, ``name@sha256:…``, an e-mail address, a path with ``@``.
"""

import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")

MARK = "***"
# Where a user's name without a password is no secret, or the part before "@" is none at all.
WITH_USER = {"ssh", "sftp", "scp", "rsync", "hdfs", "webhdfs", "abfs", "abfss", "wasb", "wasbs", "svn"}
DATABASES = {
    "postgresql",
    "postgres",
    "mysql",
    "mariadb",
    "mssql",
    "oracle",
    "mongodb",
    "redis",
    "rediss",
    "amqp",
}
DATABASES |= {"amqps", "clickhouse", "snowflake", "ldap", "ldaps", "cockroachdb", "databricks", "trino"}
NETWORK = {"http", "https", "ftp", "ftps", "ws", "wss", "git", "s3", "gs", "s3a", "smb", "mlflow-artifacts"}
NETWORK |= DATABASES | (WITH_USER - {"abfs", "abfss", "wasb", "wasbs"})
# ``word:rest@more`` in which the word is no user's name.
NO_USERS = {
    "models",
    "runs",
    "pkg",
    "mailto",
    "mail",
    "email",
    "e-mail",
    "from",
    "to",
    "cc",
    "bcc",
    "author",
    "contact",
}
NO_USERS |= {"file", "sqlite", "urn", "by", "oci", "docker", "doi", "npm", "sha256"}
SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|COOKIE", re.I
)
SHORTEST = 8  # letters of a variable's value that is looked for everywhere

# Up to white space, or to a quote or bracket that closes: one before a letter may be part of a password.
# A quote that is written twice or more, as YAML in YAML has it, is one.
_RUN = r"""(?:[^\s"'`<>]|["'`>](?![\s,:;.)}\]<>"'`\\]|$)|(?:'+|"+)(?=\w)|<(?!/))*"""
_ADDRESS = re.compile(
    rf"(?P<scheme>(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{{0,30}}):(?P<slashes>/+)(?P<rest>{_RUN})"
)
_BARE = re.compile(
    rf"(?P<user>(?:(?<![\w%.+/@$~-])|(?<=^//)|(?<=[\s'\"=(]//))[\w.%+$~-]{{1,64}}|(?<!\S)):(?!//)(?P<password>(?=[^\s@]*@|\S+@){_RUN})"
)
_BEFORE = r"(?<![A-Za-z0-9])(?:[A-Za-z0-9_-]{0,40}[_-]|(?:[A-Za-z]+(?=[A-Z]))?)"
_NAME = (
    r"(?:(?i:passw(?:or)?d|passphrase|pwd|api[_-]?key|apikey|access[_-]?key(?:[_-]?id)?|account[_-]?key"
    r"|secret[_-]?key|private[_-]?key|shared[_-]?access[_-]?(?:key|signature)|client[_-]?secret|credentials?"
    r"|x-(?:amz|goog)-(?:signature|credential|security-token)|authorization|secret|token))"
)
# Names of parts of texts, as tokenisers have them, and of a Secret of Kubernetes, are no secrets.
_NO_SECRET = (
    r"(?<!oov_token)(?<!mask_token)(?<!pad_token)(?<!start_token)(?<!end_token)(?<!unk_token)(?<!\.secret)"
)
_QUOTED = (
    r"""'{2,}[^'\n]+'{2,}|"{2,}[^"\n]+"{2,}|\\"[^"\n]*\\"|\\'[^'\n]*\\'|"[^"\n]*"|'[^'\n]*'|\{[^}\n]*\}"""
)
_UNQUOTED = _RUN.removesuffix("*").replace("[^", "[^&")
_VALUE = rf"(?:{_QUOTED}|(?:(?!&){_UNQUOTED})+)"
_ASSIGNED = re.compile(rf"(?P<name>{_BEFORE}{_NAME}{_NO_SECRET}['\"]?\s?=\s?)(?P<value>{_VALUE})")
_LISTED = re.compile(
    rf"(?P<name>(?P<quote>\\?['\"]{{1,8}}){_BEFORE}{_NAME}{_NO_SECRET}(?P=quote)\s*:\s*)(?P<value>{_VALUE})"
)
_QUERY = re.compile(
    r"(?P<name>[?&;](?i:sig|sas|key|pass|pw|auth|signature|sastoken|code|se_?cret)=)(?P<value>[^\s&\"'<>]+)"
)
_HEADER = re.compile(
    r"(?P<name>(?i:authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer|token)\s+|\bbearer\s+(?=\S*\d)(?=\S{12})))"
    r"(?P<value>[^\s\"',]+)"
)
_SHAPES = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}"
    r"|hf_[A-Za-z0-9]{24,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
)
# Of urllib, for an address whose password it took for a port.
_CAST = re.compile(r"(?P<name>could not be cast to integer value as )(?P<value>'.*'|\".*\")")
_ENCODED = re.compile(r"(?P<name>(?i:%3A%2F%2F))(?:(?!%2F)[^\s&\"'/])*(?P<at>%40)")
_PORT = re.compile(r"(?:\d{0,5}|PORT|port|\{\w*\}|<\w+>)(?!\w)")
_DIGEST = re.compile(r"(?:sha\d{3}|md5|blake\w+):", re.I)
_CLOSING = ").,;:!?]}>'\"`"


def redacted(text: str) -> str:
    """``text`` with ``***`` in place of passwords and tokens; all else as it was."""
    for secret in _environment_secrets():
        if secret in text:
            text = text.replace(secret, MARK)
    if not any(sign in text for sign in "@=:_%-") and "integer value as" not in text:
        return text
    parts, end = [], 0
    while (match := _ADDRESS.search(text, end)) is not None:
        shown, stop = _address(match, text)
        parts += [_bare(text[end : match.start()]), shown]
        end = max(stop, match.start() + 1)
    parts.append(_bare(text[end:]))
    return _named("".join(parts))


def bare_address(address: str) -> str:
    """``address`` as one that others may be given: without user, password and tokens, and without a mark for them."""
    return redacted(address).replace(f"{MARK}@", "")


def redacted_deep(value: T) -> T:
    """``value``, as JSON has them, with every text in it `redacted`."""
    return cast("T", _deep(value))


def _deep(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: _deep(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_deep, value))
    return value


def holds_credentials(text: str) -> bool:
    """Whether anything in ``text`` would be left out."""
    return redacted(text) != text


def _environment_secrets() -> Iterator[str]:
    """Values of variables that are called passwords, tokens or keys, the longest first."""
    found = {
        value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST
    }
    for name in ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL", "REGROW_GIT_URL"):
        found |= _passwords(os.environ.get(name, ""))
    for value in sorted(found, key=len, reverse=True):
        if not value.startswith("/") and not value.isdigit():  # the path of a file that holds one
            yield value


def _passwords(address: str) -> set[str]:
    """The password in ``address``, as it stands and decoded."""
    _, separator, rest = address.partition("://")
    userinfo, at, _ = rest.rpartition("@")
    password = userinfo.partition(":")[2] if separator and at else ""
    return {item for item in (password, urllib.parse.unquote(password)) if len(item) >= SHORTEST}


def _address(match: re.Match[str], text: str) -> tuple[str, int]:
    """What stands for the address that ``match`` found, and where in ``text`` it ends."""
    scheme, slashes, rest = match["scheme"].lower(), match["slashes"], match["rest"]
    kinds = set(scheme.split("+"))
    head = match.group()[: match.start("rest") - match.start()]
    following = re.search(r"(?<=[,;|])[A-Za-z][\w+.-]{0,30}://", rest)
    if following is not None:  # a list of addresses
        rest = rest[: following.start()]
    stop = match.start("rest") + len(rest)
    if len(slashes) != 2 and not kinds & NETWORK:
        if len(slashes) == 1 and scheme not in NO_USERS and len(scheme) > 1:
            return _bare(head + rest), stop
        return head + rest, stop
    cut = _userinfo(rest, kinds)
    if cut is None and _odd_port(rest) and (kinds & (NETWORK - {"s3", "gs"})):
        # The password goes on behind a space, or the host is missing.
        further = re.match(r"[^\n@'\"]{0,100}@(?=[\w\[])", text[stop:])
        if further is not None:
            return f"{head}{MARK}@", stop + further.end()
        user, _, password = rest.partition(":")
        kept = len(password.rstrip(_CLOSING))
        return f"{head}{user}:{MARK}{password[kept:]}", stop
    if cut is None:
        return head + rest, stop
    userinfo = rest[:cut]
    if ":" not in userinfo and "%3a" not in userinfo.lower() and (kinds & WITH_USER or not userinfo):
        return head + rest, stop
    return f"{head}{MARK}{rest[cut:]}", stop


def _odd_port(rest: str) -> bool:
    """Whether a colon stands in the authority and no port after it."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if authority.startswith("[") or ":" not in authority:
        return False
    return _PORT.match(authority.partition(":")[2]) is None


def _userinfo(rest: str, kinds: set[str]) -> int | None:
    """Where in ``rest``, an address without its scheme, the ``@`` stands before which there are credentials."""
    ats = [match.start() for match in re.finditer("@", rest) if not _DIGEST.match(rest[match.end() :])]
    if not ats:
        return None
    last = ats[-1]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        inner = authority.rindex("@")
        host = authority[inner + 1 :]
        further = kinds & DATABASES or _is_host(rest[last + 1 :]) or not _is_host(host)
        return last if further else inner
    if kinds & DATABASES or _odd_port(rest):
        return last
    name = authority.partition(":")[0]
    return last if "." not in name and name != "localhost" and name and _is_host(rest[last + 1 :]) else None


def _is_host(text: str) -> bool:
    """Whether ``text`` begins with what can only be a host: one with a dot and letters, an address, or a port."""
    found = re.match(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5}\b)?", text)
    if found is None:
        return False
    name = found[1].rstrip(".")
    dotted = (
        re.search(r"\.[A-Za-z]{2,}$", name) is not None or re.fullmatch(r"\d+(\.\d+){3}", name) is not None
    )
    return bool(found[2]) or dotted or name == "localhost" or name.startswith("[")


def _bare(text: str) -> str:
    """``text``, which holds no ``scheme://``, without what stands before ``@`` in ``user:password@host``."""
    if "@" not in text:
        return text
    return _BARE.sub(_bare_one, text)


def _bare_one(match: re.Match[str]) -> str:
    whole, user, rest = match.group(), match["user"], match["password"]
    ats = [found.start() for found in re.finditer("@", rest) if re.match(r"[\w\[]", rest[found.end() :])]
    ats = [at for at in ats if at and not _DIGEST.match(rest[at + 1 :])]
    if not ats or user.lower() in NO_USERS:
        return whole
    password = rest[: ats[-1]]
    if len(user) == 1 and password.startswith(("/", "\\")):  # a drive
        return whole
    if password.startswith("/") and ":" not in password and not _is_host(rest[ats[-1] + 1 :]):
        return whole
    return f"{user}:{MARK}{rest[ats[-1] :]}"


def _named(text: str) -> str:
    """``text`` without the values that stand beside a secret's name, and without tokens known by their form."""
    text = _HEADER.sub(rf"\g<name>{MARK}", text)
    for pattern in (_ASSIGNED, _LISTED, _QUERY, _CAST):
        text = pattern.sub(_value, text)
    text = _ENCODED.sub(rf"\g<name>{MARK}\g<at>", text)
    return _SHAPES.sub(MARK, text)


def _value(match: re.Match[str]) -> str:
    value = match["value"]
    kept = value.rstrip(_CLOSING) if value[0] not in "\"'{" else value
    return f"{match['name']}{MARK}{value[len(kept) :]}" if kept else match.group()
