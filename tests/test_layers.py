"""The import direction, and what may appear only in one place.

What a module may import is kept here as tables; CONTRIBUTING.md shows them as a picture.
"""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mailusers_plugin"

# Each part of the package imports only parts of the layers above it. Where a layer is said to be open, its
# parts may import one another too.
LAYERS = [
    {"_version"},
    {
        "errors",
        "models",
        "events",
        "texts",
        "request_log",
        "import_models",
        "database_place",
        "permissions",
        "trail_models",
    },
    {
        "validation",
        "client_address",
        "passwords",
        "password_schemes",
        "hash_lanes",
        "measures",
        "password_strength",
        "hooks",
        "settings",
        "settings_browser",
        "settings_checks",
        "password_policy",
        "breached_passwords",
        "languages",
        "import_file",
        "given_hashes",
        "csv_text",
        "made_passwords",
        "user_objects",
        "user_versions",
        "api_document",
    },
    {"store", "mailserver"},
    {"hook_calls", "listing", "refresh", "server_lock", "directory", "owners"},
    {"dispatch", "duties", "statistics", "export_rows", "trail", "trail_rows"},
    {"service", "idempotency"},
    {"auth", "imports", "health", "metrics"},
    {"host", "runtime", "first_run"},
    {"demo", "diagnosis"},
    {"handlers", "cli"},
    {"plugin"},
    {"panel"},
]
OPEN_LAYERS = {1, 2}

# `mailusers serve` starts the reference panel, and only then.
LAZILY = {("cli", "panel")}

# The package's face and `python -m` stand outside: nobody imports them.
OUTSIDE = {"__init__", "__main__"}

LIBRARIES = {
    "tornado": {"handlers", "plugin", "panel", "breached_passwords"},
    "pluggy": {"hooks", "hook_calls", "dispatch", "plugin", "panel"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "subprocess": {"mailserver"},
}
LIBRARIES_LAZILY = {("cli", "tornado")}
LIBRARIES_FOR_TYPING = {("host", "tornado"), ("hooks", "tornado")}

MAX_LINES = 400


@dataclass(frozen=True)
class Import:
    """One imported module and where it is imported."""

    part: str
    target: str
    place: str
    lazy: bool
    for_typing: bool

    @property
    def library(self) -> str:
        """The top-level name of what is imported."""
        return self.target.partition(".")[0]

    @property
    def target_part(self) -> str:
        """The part of our package that is imported, empty for the package itself and for all else."""
        return part_of(self.target) if self.library == PACKAGE else ""

    def __str__(self) -> str:
        """Say it as in an error message."""
        return f"{self.place}: {self.target}"


def sources() -> dict[str, Path]:
    """Every module of the package by its dotted name; hooks and templates are read where they really are."""
    found = {}
    tops = {PACKAGE: PACKAGE, f"{PACKAGE}.hooks": "hooks", f"{PACKAGE}.templates": "templates"}
    for top, folder in tops.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder)
            if top != PACKAGE or inside.parts[0] not in ("hooks", "templates"):
                found[".".join((top, *inside.with_suffix("").parts))] = path
    return found


def part_of(module: str) -> str:
    """The part that a module of ours belongs to: dispatch for dispatch.py and dispatch_outbox.py."""
    name = module.split(".")[1] if "." in module else ""
    for several in ("dispatch", "service", "imports", "refresh", "directory"):
        if name.startswith(f"{several}_"):
            return several
    return name


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def walk(node: ast.AST, lazy: bool = False, for_typing: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Every node below, with whether it stands in a function and whether it is for type checkers only."""
    for child in ast.iter_child_nodes(node):
        inner_lazy = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        inner_typing = for_typing or is_type_checking(child)
        yield child, inner_lazy, inner_typing
        yield from walk(child, inner_lazy, inner_typing)


def targets(node: ast.AST, module: str, modules: Collection[str]) -> list[str]:
    """The modules that an import statement names in full, given the modules there are."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    start = module.split(".")[: -node.level] if node.level else []
    base = ".".join([*start, *([node.module] if node.module else [])])
    if base == PACKAGE:
        # `from mailusers_plugin import store` names a module, `import __version__` the package itself.
        parts = {name.split(".")[1] for name in modules}
        return [f"{PACKAGE}.{alias.name}" if alias.name in parts else PACKAGE for alias in node.names]
    return [base]


def imports() -> Iterator[Import]:
    """Every import of every module of the package."""
    modules = sources()
    for module, path in modules.items():
        for node, lazy, for_typing in walk(ast.parse(path.read_text(encoding="utf-8"))):
            for target in targets(node, module, modules):
                place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                yield Import(part_of(module), target, place, lazy, for_typing)


def may_import(part: str, target: str) -> bool:
    """Whether the direction allows one part to import another."""
    levels = {name: level for level, layer in enumerate(LAYERS) for name in layer}
    if part not in levels or target not in levels:
        return True  # test_every_part_has_its_layer says so, once
    if levels[part] == levels[target]:
        return part == target or levels[part] in OPEN_LAYERS
    return levels[part] > levels[target]


def test_every_part_has_its_layer() -> None:
    """A new module or folder of the package is given a place in the import direction."""
    known = set().union(*LAYERS) | OUTSIDE | {"templates"}
    assert {part_of(module) for module in sources()} - known == set()


def test_imports_follow_the_direction() -> None:
    """A module imports only from the layers before its own, not even inside a function."""
    wrong = [
        str(found)
        for found in imports()
        if found.target_part and found.part not in OUTSIDE and not found.for_typing
        if not may_import(found.part, found.target_part)
        if not (found.lazy and (found.part, found.target_part) in LAZILY)
    ]
    assert wrong == []


def test_nobody_inside_imports_the_package_itself() -> None:
    """Modules import where a name is defined; the package's face would draw everything in."""
    wrong = [str(found) for found in imports() if found.target == PACKAGE and found.part not in OUTSIDE]
    assert wrong == []


def test_libraries_stay_in_their_place() -> None:
    """Tornado, pluggy, SQL and subprocesses appear only in the parts that exist to wrap them."""
    wrong = [
        str(found)
        for found in imports()
        if found.part not in LIBRARIES.get(found.library, {found.part})
        if not (found.lazy and (found.part, found.library) in LIBRARIES_LAZILY)
        if not (found.for_typing and (found.part, found.library) in LIBRARIES_FOR_TYPING)
    ]
    assert wrong == []


def test_only_the_mail_server_part_starts_programs() -> None:
    """Neither asyncio nor os starts a program outside mailserver."""
    starters = {"create_subprocess_exec", "create_subprocess_shell", "system", "popen", "posix_spawn"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.attr}"
        for module, path in sources().items()
        if part_of(module) != "mailserver"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in starters
    ]
    assert wrong == []


def test_hooks_and_templates_are_imported_by_one_name() -> None:
    """`import hooks` would make a second copy of mailusers_plugin.hooks, with specifications of its own."""
    wrong = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for folder in (PACKAGE, "hooks", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if not (isinstance(node, ast.ImportFrom) and node.level)
        for target in targets(node, "", ())
        if target.partition(".")[0] in ("hooks", "templates")
    ]
    assert wrong == []


def test_no_file_outgrows_a_reader() -> None:
    """A file of more than 400 lines is two files."""
    wrong = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for folder in (PACKAGE, "hooks", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    ]
    assert wrong == []
