"""``mailusers user import``: what it checks, adds, refuses, and where passwords are."""

from __future__ import annotations

import csv
import fcntl
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from mailusers_plugin.passwords import Passwords
from mailusers_plugin.service_import import BulkAdd
from tests.cli.support import PASSWORD, Shell
from tests.support import make_mailbox, run_sql

BOSS = "boss@example.com"
SECRET = "the-secret-of-anna"
MODULE = """\
from mailusers_plugin import hookimpl
from mailusers_plugin.errors import VetoError

@hookimpl
def mailusers_validate_add(request):
    if request.email.startswith("refused"):
        raise VetoError("No room for this one.")
"""


class Importer:
    """Somebody at the console of a box, with files."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self.shell = shell
        self.folder = folder
        self.result_path = folder / "result.csv"

    def file(self, text: str, name: str = "users.csv") -> str:
        """Write a file; return its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def run(self, text: str, *options: str, **environment: str) -> Result:
        """Import a file with such lines."""
        return self.shell.run("user", "import", self.file(text), *options, **environment)

    def result(self) -> list[list[str]]:
        """Return the lines of the result."""
        return list(csv.reader(self.result_path.read_text(encoding="utf-8-sig").splitlines()))

    def stored(self) -> dict[str, tuple[str, str, str]]:
        """Return hash, privileges and quota of the users."""
        query = "SELECT email, password, privileges, quota FROM users"
        found = run_sql(self.shell.storage / "mail" / "users.sqlite", query)
        return {email: (stored, privileges, quota) for email, stored, privileges, quota in found}

    def on_disk(self, text: str) -> list[str]:
        """Return the files of the box in which a text stands."""
        files = (path for path in self.shell.storage.rglob("*") if path.is_file())
        return [path.name for path in files if text.encode() in path.read_bytes()]


@pytest.fixture
def importer(shell: Shell, tmp_path: Path) -> Importer:
    """A box with an administrator."""
    shell.add(BOSS, "--admin")
    return Importer(shell, tmp_path)


def verified(importer: Importer, email: str, password: str) -> bool:
    """Tell whether somebody gets in."""
    return Passwords("SHA512-CRYPT").verify_now(password, importer.stored()[email][0]).matches


def test_import(importer: Importer) -> None:
    """Users have the file's password, quota and privileges; a made-up password is in the result and works."""
    text = f"mail;password;quota;privileges\nanna@example.com;{SECRET};5g;\nbert@example.com;;;admin\n"
    done = importer.run(text, "--result", str(importer.result_path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"2 users added; 0 lines left out.\nWhat became of each line is in {importer.result_path}.\n"
    )
    head, anna, bert = importer.result()
    assert head == ["line", "address", "result", "password", "error"]
    assert anna == ["2", "anna@example.com", "added", "", ""]
    assert bert[:3] == ["3", "bert@example.com", "added"]
    assert verified(importer, "anna@example.com", SECRET)
    assert verified(importer, "bert@example.com", bert[3])
    assert importer.stored()["anna@example.com"][1:] == ("", "5G")
    assert importer.stored()["bert@example.com"][1:] == ("admin", "0")
    assert stat.S_IMODE(importer.result_path.stat().st_mode) == 0o600
    assert not importer.result_path.with_name("result.csv.pending").exists()
    told = [entry["email"] for entry in importer.shell.json("audit", "list") if entry["type"] == "UserAdded"]
    assert told == ["bert@example.com", "anna@example.com", BOSS]
    # Neither in the box nor in what was printed.
    assert importer.on_disk(SECRET) == importer.on_disk(bert[3]) == []
    assert SECRET not in done.output


def test_dry_run(importer: Importer) -> None:
    """Every error is printed with its line, nothing is changed, and no file is made."""
    text = (
        f"anna@example.com,short\n{BOSS},\nbert@example.com,,1.5G\nchris@example.com,,,king\n\n"
        f"dora@example.com\ndora@example.com\nDora@example.com\n{SECRET},emil@example.com,{SECRET},{SECRET}\n"
    )
    before = importer.stored()
    done = importer.run(text, "--dry-run", "--result", str(importer.result_path))
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "Line 1 (anna@example.com): Passwords must be at least eight characters.",
        f"Line 2 ({BOSS}): User already exists.",
        "Line 3 (bert@example.com): Quotas cannot contain spaces, commas, or decimal points.",
        "Line 4 (chris@example.com): That's not a valid privilege (…).",
        "Line 7 (dora@example.com): This address stands in line 6 already.",
        "Line 8: User account email addresses may only use the lowercase ASCII letters a-z, the digits 0-9, "
        "underscore (_), hyphen (-), and period (.).",
        "Line 9: Invalid email address. Invalid quota. That's not a valid privilege (…).",
        "8 lines: 1 can be imported, 7 have errors.",
        "1 user for whom passwords are made up, into the file of --result.",
        "Nothing was changed.",
    ]
    assert SECRET not in done.output
    assert importer.stored() == before
    assert not importer.result_path.exists()
    assert not (importer.shell.storage / "mailusers" / "imports").exists()
    assert importer.run("erik@example.com\n", "--dry-run").exit_code == 0


def test_faulty_lines(importer: Importer) -> None:
    """With an error nothing is imported, until somebody says that such lines are left out; the result says why."""
    text = f"anna@example.com,{PASSWORD}\nbert@example.com,short\n"
    refused = importer.run(text)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.splitlines() == [
        "Line 2 (bert@example.com): Passwords must be at least eight characters.",
        "Error: 1 line has errors. Nothing was changed. Mend the file, or leave such lines out with --leave-out.",
    ]
    assert importer.stored().keys() == {BOSS}
    done = importer.run(text, "--leave-out", "--result", str(importer.result_path))
    assert done.exit_code == 0
    assert done.stdout.startswith("1 user added; 1 line left out.\n")
    error = "Passwords must be at least eight characters."
    assert importer.result()[2] == ["2", "bert@example.com", "left out", "", error]


def test_only_some_errors_are_printed(importer: Importer) -> None:
    """A file of which every line is wrong does not flood the terminal; --dry-run prints all."""
    text = "nonsense\n" * 50
    refused = importer.run(text)
    assert len(refused.stderr.splitlines()) == 22
    assert "--dry-run prints all" in refused.stderr
    assert len(importer.run(text, "--dry-run").stdout.splitlines()) == 52


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            "anna@example.com\n",
            (),
            "1 line without a password. Passwords are made up for them: say with --result",
        ),
        ("nonsense\n", ("--leave-out",), "There is no line that could be imported."),
        ("", (), "There is no user in the file."),
        ("address\n", (), "only a header row"),
        ("password\nx\n", (), "names no column of addresses"),
        ("PK\x03\x04", (), "Excel workbook or a ZIP archive"),
        (
            "archived@example.com,correct horse\n",
            (),
            "1 line with addresses that have an archived mailbox. Say",
        ),
        (
            "archived@example.com,correct horse\n",
            ("--no-restore",),
            "There is no line that could be imported.",
        ),
    ],
)
def test_refused(importer: Importer, text: str, options: tuple[str, ...], said: str) -> None:
    """What needs a decision, or is no such file, is said before anything is changed."""
    make_mailbox(importer.shell.storage / "mail" / "mailboxes", "archived@example.com")
    refused = importer.run(text, *options)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert said in refused.stderr
    assert importer.stored().keys() == {BOSS}


def test_archived_mailboxes(importer: Importer) -> None:
    """With --restore users get the mailboxes of the archive, and that is said."""
    make_mailbox(importer.shell.storage / "mail" / "mailboxes", "anna@example.com")
    done = importer.run(f"anna@example.com,{PASSWORD}\nbert@example.com,{PASSWORD}\n", "--restore")
    assert done.stdout == ("2 users added, 1 of them with the mailbox from the archive; 0 lines left out.\n")
    restored = {entry["email"]: entry["detail"]["restored"] for entry in importer.shell.json("audit", "list")}
    assert restored == {"anna@example.com": True, "bert@example.com": False, BOSS: False}


def test_standard_input(importer: Importer) -> None:
    """With - the lines come from standard input, and no file is made of them."""
    done = importer.shell.run("user", "import", "-", stdin=f"anna@example.com,{SECRET}\n")
    assert (done.exit_code, done.stdout) == (0, "1 user added; 0 lines left out.\n")
    assert verified(importer, "anna@example.com", SECRET)
    assert importer.on_disk(SECRET) == []


def test_result_is_never_written_over(importer: Importer) -> None:
    """A file that is there already is left as it is, and nothing is imported."""
    importer.result_path.write_text("precious")
    refused = importer.run("anna@example.com\n", "--result", str(importer.result_path))
    assert refused.exit_code == 1
    assert "is there already, and is not written over" in refused.stderr
    assert importer.result_path.read_text() == "precious"
    assert importer.stored().keys() == {BOSS}


def test_imported_before(importer: Importer) -> None:
    """The same file is not imported twice, unless somebody says so."""
    text = f"anna@example.com,{PASSWORD}\n"
    assert importer.run(text).exit_code == 0
    for options in ((), ("--dry-run",)):
        again = importer.run(text, *options)
        assert again.exit_code == 0
        assert re.fullmatch(
            r"This file was imported by the import that began at \S+: 1 user added, 0 lines left out\. To import it "
            r"once more, say --again\.\n",
            again.stdout,
        )
    assert "User already exists." in importer.run(text, "--again").stderr
    assert importer.shell.run("user", "remove", "anna@example.com").exit_code == 0
    assert "Say --restore" in importer.run(text, "--again").stderr
    once_more = importer.run(text, "--again", "--restore")
    assert once_more.stdout.startswith("1 user added, 1 of them with the mailbox from the archive;")


def test_hashes_of_another_system(importer: Importer) -> None:
    """Whoever had a password there has it here; what is quick to guess is taken only when that is said."""
    hashes = {"anna": Passwords("BLF-CRYPT").hash_now(PASSWORD), "bert": "{SSHA}" + "x" * 32}
    text = "address,password,password_hash\n" + "".join(
        f"{name}@example.com,,{stored}\n" for name, stored in hashes.items()
    )
    refused = importer.run(text)
    assert "Line 3 (bert@example.com): Hashes of … are quick to guess." in refused.stderr
    done = importer.run(text, "--weak-hashes")
    assert (done.exit_code, done.stdout) == (0, "2 users added; 0 lines left out.\n")
    assert {email: row[0] for email, row in importer.stored().items() if email != BOSS} == {
        f"{name}@example.com": stored for name, stored in hashes.items()
    }
    assert verified(importer, "anna@example.com", PASSWORD)
    both = importer.run(f"address,password,password_hash\ndora@example.com,{PASSWORD},{hashes['anna']}\n")
    assert "A line has a password or the hash of one, not both." in both.stderr


def test_export_of_the_page(importer: Importer) -> None:
    """What the page exports can be imported; users that are archived there do not become active."""
    text = (
        '"email","status","privileges","quota","box_quota"\r\n"anna@example.com","active","admin","5G","5368709120"\r\n'
        '"bert@example.com","inactive","","1G","1073741824"\r\n'
    )
    refused = importer.run(text)
    assert "Line 3 (bert@example.com): The column status says that this user is inactive." in refused.stderr
    done = importer.run(text, "--leave-out", "--result", str(importer.result_path))
    assert done.exit_code == 0
    assert importer.stored()["anna@example.com"][1:] == ("admin", "5G")
    assert "bert@example.com" not in importer.stored()


def test_modules_are_asked(importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that refuses a user is heard before anything is changed, also by --dry-run."""
    metadata = tmp_path / "site" / "room-1.0.dist-info"
    metadata.mkdir(parents=True)
    (tmp_path / "site" / "room_module.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: room\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[mailusers]\nroom = room_module\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    text = f"anna@example.com,{PASSWORD}\nrefused@example.com,{PASSWORD}\n"
    assert "Line 2 (refused@example.com): No room for this one." in importer.run(text, "--dry-run").stdout
    refused = importer.run(text)
    assert "1 line has errors. Nothing was changed." in refused.stderr
    assert importer.stored().keys() == {BOSS}
    assert importer.run(text, "--leave-out").stdout == "1 user added; 1 line left out.\n"


def test_one_at_a_time(importer: Importer) -> None:
    """While another command imports into the box the exit code says: try again later."""
    folder = importer.shell.storage / "mailusers" / "imports"
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        busy = importer.run(f"anna@example.com,{PASSWORD}\n")
    finally:
        os.close(descriptor)
    assert busy.exit_code == 75
    assert "Another 'mailusers user import' runs on this box." in busy.stderr


def test_a_damaged_journal(importer: Importer) -> None:
    """A journal that cannot be read is named, with what to do, and nothing is changed."""
    text = f"anna@example.com,{PASSWORD}\n"
    importer.run(text)
    (journal,) = (importer.shell.storage / "mailusers" / "imports").glob("*.json")
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert "anna" not in journal.read_text()
    journal.write_text("{")
    refused = importer.run(text)
    assert refused.exit_code == 1
    assert f"{journal} cannot be read. With --again" in refused.stderr


def test_hooks_that_fail_are_said(importer: Importer, tmp_path: Path) -> None:
    """Users are added although a hook fails, and the command says that it did."""
    program = tmp_path / "doveadm"
    program.write_text("#!/bin/sh\nexit 75\n")
    program.chmod(0o755)
    environment: dict[str, Any] = {"MAILUSERS_DOVEADM": str(program), "MAILUSERS_HOOK_ATTEMPTS": "1"}
    done = importer.run(f"anna@example.com,{PASSWORD}\n", **environment)
    assert done.exit_code == 0
    assert "Some hooks have not been told yet: see 'mailusers events list'." in done.stderr
    assert [row["email"] for row in importer.shell.json("events", "list")] == ["anna@example.com"]


def test_nothing_is_left_of_one_that_has_done_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first lines cannot be added any more when it comes to it, no file of the import stays."""
    add_all = BulkAdd.add_all

    async def somebody_is_quicker(self: BulkAdd, *arguments: Any, **named: Any) -> Any:
        insert = "INSERT INTO users (email, password, privileges) VALUES ('bert@example.com', 'x', '')"
        run_sql(importer.shell.storage / "mail" / "users.sqlite", insert)
        return await add_all(self, *arguments, **named)

    monkeypatch.setattr(BulkAdd, "add_all", somebody_is_quicker)
    refused = importer.run("anna@example.com\nbert@example.com\n", "--result", str(importer.result_path))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "Error: Line 2: User already exists. Nothing was changed.\n"
    assert importer.stored().keys() == {BOSS, "bert@example.com"}
    assert [path.name for path in importer.folder.glob("result*")] == []
    assert list((importer.shell.storage / "mailusers" / "imports").iterdir()) == []
