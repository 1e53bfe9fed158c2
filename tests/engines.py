"""Which tests are repeated on PostgreSQL and MariaDB: by file, all listed here, so that none is left out unnoticed.

``tests/test_engine_selection.py`` fails where a file whose tests open a box is in neither list. Single tests that are
about SQLite's files carry the mark ``sqlite_only`` with the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent

REPEATED: Final = (
    "auth/test_authenticator.py",
    "auth/test_half_logins.py",
    "auth/test_login_memory.py",
    "auth/test_second_factor.py",
    "auth/test_sessions.py",
    "auth/test_throttle.py",
    "auth/test_tokens.py",
    "auth/test_session_clock.py",
    "handlers/test_api.py",
    "handlers/test_audit.py",
    "handlers/test_export.py",
    "handlers/test_list_paging.py",
    "handlers/test_live.py",
    "test_audit_trail.py",
    "handlers/test_once.py",
    "handlers/test_versions.py",
    "store/test_accounts.py",
    "store/test_audit_chain.py",
    "store/test_audit_migration.py",
    "store/test_command_import.py",
    "store/test_directory.py",
    "store/test_directory_build.py",
    "store/test_imports.py",
    "store/test_lookups.py",
    "store/test_migrate.py",
    "store/test_samples.py",
    "store/test_transactions.py",
    "store/test_undo.py",
    "store/test_use_cases.py",
    "test_directory.py",
    "test_directory_counts.py",
    "test_dispatch.py",
    "test_dispatch_ended.py",
    "test_dispatch_processes.py",
    "test_duties.py",
    "test_imports.py",
    "test_imports_memory.py",
    "test_imports_recovery.py",
    "test_refresh.py",
    "test_service.py",
    "test_service_machine.py",
    "test_service_purge.py",
    "test_service_undo.py",
    "test_trail.py",
)
"""Whatever asks or changes a database: the store, the use cases, and HTTP where it is about what is stored."""

_PAGE: Final = "about the page and HTTP, which ask the use cases that are repeated"
ON_SQLITE: Final = {
    "auth/test_api_key.py": "about a file",
    "auth/test_one_time_codes.py": "about numbers and texts",
    "auth/test_networks.py": "about texts",
    "auth/test_token_keys.py": "about texts",
    "cli/": "about the command line, which asks the use cases that are repeated",
    "browser/": _PAGE,
    "e2e/": "real servers; test_mail_flow_engines.py runs on each database by itself",
    "handlers/": _PAGE,
    "hooks/": "about Dovecot and about calling hooks",
    "mailserver/": "about files and programs",
    "store/test_commits.py": "about the one writer of a SQLite file",
    "store/test_place.py": "about texts",
    "store/test_plans.py": "about how SQLite looks for what is asked",
    "store/test_database.py": "about locks and connections of SQLite",
    "store/test_errands.py": "about threads",
    "store/test_quota_clone.py": "about the file that Dovecot writes beside SQLite",
    "store/test_seen_lines.py": "about a file of its own",
    "store/test_file_place.py": "about SQLite's file",
    "store/test_file_watch.py": "about the time of SQLite's file",
    "test_docs.py": "about the documentation",
    "test_generated_docs.py": "about the documentation",
    "test_hook_calls.py": "about calling hooks",
    "test_plugin.py": "about panels",
}
"""Files and folders whose other files are run on SQLite only, and why."""


def is_repeated(path: Path) -> bool:
    """Tell whether a file of tests is run on every database."""
    return path.relative_to(TESTS).as_posix() in REPEATED


def is_known(path: Path) -> bool:
    """Tell whether a file of tests is in either list."""
    name = path.relative_to(TESTS).as_posix()
    folder = f"{name.partition('/')[0]}/"
    if name.endswith("_engines.py"):
        # It goes through the databases by itself.
        return True
    return is_repeated(path) or name in ON_SQLITE or (folder != name and folder in ON_SQLITE)
