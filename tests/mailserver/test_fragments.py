"""What the mail servers are told; tests/e2e/test_mail_flow_engines.py shows that they understand it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailusers_plugin.database_place import MARIADB, POSTGRESQL, SQLITE, DatabasePlace
from mailusers_plugin.errors import ConfigurationError, StorageError
from mailusers_plugin.mailserver import fragments
from mailusers_plugin.mailserver.dovecot_config import dovecot_fragments
from mailusers_plugin.mailserver.fragments import Fragment
from mailusers_plugin.mailserver.postfix_config import postfix_fragments
from mailusers_plugin.settings import Settings
from tests.servers import dovecot, postfix

BOX = Path("/srv/box")
PASSWORD = "abcdefgh/+=.~_-12"
SERVERS = [
    DatabasePlace(POSTGRESQL, host="db.example.com", port=5432, name="mail"),
    DatabasePlace(MARIADB, host="127.0.0.1", port=3307, name="mail"),
]
FILE = DatabasePlace(SQLITE, BOX / "mail" / "users.sqlite")
URLS = {
    SQLITE: "",
    POSTGRESQL: "postgresql+psycopg://mailusers@db.example.com/mail",
    MARIADB: "mariadb+pymysql://mailusers@127.0.0.1:3307/mail",
}


def everything(place: DatabasePlace, password: str | None = None, storage: Path = BOX) -> list[Fragment]:
    """Return all fragments."""
    return [
        *dovecot_fragments(place, Settings(storage_root=storage), password=password),
        *postfix_fragments(place, storage, password=password),
    ]


def test_sqlite_is_asked_what_mail_in_a_box_asks() -> None:
    """On SQLite the look-ups are Mail-in-a-Box's own, with its tables and nothing of ours."""
    texts = {fragment.path.name: fragment.text for fragment in everything(FILE)}
    for name, query in postfix._MAPS.items():
        assert f"dbpath=/srv/box/mail/users.sqlite\nquery = {query}\n" in texts[name]
        assert f"= proxy:sqlite:/etc/postfix/{name}\n" in texts["main.cf"]
    said = texts["dovecot-sql.conf.ext"].lower().replace(" = '%u'", "='%u'")
    for line in dovecot._SQL_CONFIG.format(storage=BOX).lower().replace('"', "'").splitlines():
        assert line.rstrip(";") in said
    assert not any("mailusers_" in text for text in texts.values())


@pytest.mark.parametrize("place", SERVERS, ids=lambda place: place.engine)
def test_a_password_stands_only_where_it_must(place: DatabasePlace) -> None:
    """It is in the files that a mail server logs in with; statements hold what it can be checked by."""
    assert not any(PASSWORD in fragment.text for fragment in everything(place))
    for fragment in everything(place, PASSWORD):
        logs_in = fragment.path.name == "dovecot-sql.conf.ext" or "-maps.cf" in fragment.path.name
        logs_in = logs_in or fragment.path.name == "virtual-mailbox-domains.cf"
        assert (PASSWORD in fragment.text) is logs_in, fragment.path
        if logs_in or fragment.path.suffix == ".sql":
            assert fragment.mode & 0o007 == 0
        assert "PASSWORD-OF" not in fragment.text


def test_mariadb_lets_in_from_where_the_mail_servers_are() -> None:
    """Beside the panel's own machine the database user may come from anywhere, else only from there."""
    near = SERVERS[1]
    for place, client in ((near, "localhost"), (replace(near, host="db.example.com"), "%")):
        (statements,) = (
            f.text for f in dovecot_fragments(place, Settings(storage_root=BOX)) if f.path.suffix == ".sql"
        )
        assert f"'mailusers_dovecot'@'{client}'" in statements


@pytest.mark.parametrize(
    "name", ["/srv/it's", "/srv/a b", "/srv/%d", '/srv/"x"', "/srv/$x", "relative", "/srv/x\ny"]
)
def test_names_that_would_mean_something_else(name: str) -> None:
    """A folder, host or database whose name is not plain is refused, for each engine."""
    for place in (FILE, *SERVERS):
        with pytest.raises(ConfigurationError, match="cannot stand in the mail servers' configuration"):
            everything(place, storage=Path(name))
    for changed in ({"name": "it's"}, {"host": "h o"}, {"host": "h'x"}):
        with pytest.raises(ConfigurationError, match="cannot stand in the mail servers' configuration"):
            everything(replace(SERVERS[0], **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "password", ["", "short", "has a space in it", "has'a'quote-12", "x" * 129, "ünïcødé-password"]
)
def test_impossible_passwords(tmp_path: Path, password: str) -> None:
    """What would not mean the same in every file is refused, with a way to make another, and not repeated."""
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(password + "\n")
    with pytest.raises(ConfigurationError, match="openssl rand") as raised:
        fragments.read_password(file)
    assert not password or password not in raised.value.message


def test_a_password_file_is_private(tmp_path: Path) -> None:
    """A file that others may read is refused; the first line of another one is the password."""
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\nmore\n")
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        fragments.read_password(file)
    file.chmod(0o600)
    assert fragments.read_password(file) == PASSWORD
    with pytest.raises(ConfigurationError, match="cannot be read"):
        fragments.read_password(tmp_path / "nothing")


def test_files_are_private_and_nothing_is_overwritten(tmp_path: Path) -> None:
    """Whole files are written, parts are not; where one exists none is written."""
    some = [
        Fragment(tmp_path / "one", "1\n", "nobody-there:nobody-there", 0o640),
        Fragment(tmp_path / "two", "2\n"),
        Fragment(tmp_path / "part", "3\n", part=True),
    ]
    (tmp_path / "two").write_text("mine")
    with pytest.raises(StorageError, match=r"two cannot be written: File exists\. Move it away first\."):
        fragments.write(some)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"two": "mine"}
    (tmp_path / "two").unlink()
    assert fragments.write(some) == [tmp_path / "one", tmp_path / "two"]
    assert (tmp_path / "one").read_text() == "1\n"
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", [FILE, *SERVERS], ids=lambda place: str(place.engine))
def test_dovecot_that_tells_us_sizes(place: DatabasePlace) -> None:
    """With quota_clone Dovecot gets a file for that, which its own user reads, and may write that table only."""
    settings = Settings(storage_root=BOX, database=URLS[place.engine], usage_source="quota_clone")
    files = {fragment.path.name: fragment for fragment in dovecot_fragments(place, settings)}
    told = files["dovecot-dict-mailusers.conf.ext"]
    assert (told.owner, told.mode) == ("dovecot:dovecot", 0o600)
    assert "table = mailusers_quota" in told.text
    assert str(told.path) in files["91-mailusers-quota.conf"].text
    if place is not FILE:
        grants = [line for line in files["mailusers-dovecot.sql"].text.splitlines() if "GRANT" in line]
        assert sum("INSERT" in line for line in grants) == 1
        assert any("SELECT, INSERT, UPDATE ON mailusers_quota TO" in line for line in grants)
