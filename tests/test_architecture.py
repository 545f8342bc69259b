import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import cli
from commands import colours

ROOT = Path(__file__).parent.parent
ENGINE = {"engine"}
CORE = {"engine", "indexer", "training"}
MAY_IMPORT = {
    "engine": ENGINE,
    "indexer": ENGINE | {"indexer"},
    "training": ENGINE | {"training"},
    "studies": CORE | {"studies"},
    "web": ENGINE | {"indexer", "web"},
    "mneme": CORE | {"studies", "web", "mneme"},
    "cli": CORE | {"studies", "web", "cli"},
    "mneme_command": {"cli", "mneme_command"},
}
FILES = sorted(
    file
    for layer in MAY_IMPORT
    for file in [*(ROOT / layer).rglob("*.py"), ROOT / f"{layer}.py"]
    if file.is_file()
)
MOST_LINES = 250
MOST_FUNCTION_LINES = 40
LONG_FILES = {"cli.py"}
SPEAK_OF_OPTIONS = {
    "cli",
    "studies.demo.demo",  # prints commands to type
}
HEAVY = {"torch", "numpy", "faiss", "open_clip", "scipy", "PIL", "lmdb", "rich", "pydantic"}
MODULES_OF = {
    "engine/storage": 16,
    "indexer": 0,
    "studies": 0,
    "engine/ranking": 2,
    "training/data": 2,
    "studies/demo/drawn": 14,
}
"""How many modules those folders hold that hold fewer than 3 or more than 12."""
NEVER = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}


def name_of(file: Path) -> str:
    """Return a file's module name: engine.storage.store, engine.sources."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in FILES}
FOLDERS = sorted({file.parent for file in FILES} - {ROOT})
EACH_FOLDER = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
EACH_FILE = pytest.mark.parametrize("file", FILES, ids=map(name_of, FILES))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk(node: ast.AST, *, lazy: bool) -> Iterator[ast.AST]:
    """Yield a module's nodes; without `lazy` only those that run when it is imported."""
    yield node
    later = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for child in ast.iter_child_nodes(node):
        if lazy or not (isinstance(child, later) or is_type_checking(child)):
            yield from walk(child, lazy=lazy)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def imported(file: Path, *, lazy: bool = True) -> frozenset[str]:
    """Return the modules that a file names in its imports; `from a import b` gives a and a.b."""
    names = set()
    for node in walk(parsed(file), lazy=lazy):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import hides where it points"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def first(modules: Set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@EACH_FILE
def test_imports_point_one_way(file: Path) -> None:
    layer = name_of(file).partition(".")[0]
    assert first(imported(file)) & set(MAY_IMPORT) <= MAY_IMPORT[layer]


def test_every_layer_that_is_installed_has_its_rule() -> None:
    layers = {
        file.relative_to(ROOT).parts[0].removesuffix(".py")
        for pattern in ("*.py", "*/__init__.py")
        for file in ROOT.glob(pattern)
    }
    assert layers - {"tests", "benchmarks"} <= set(MAY_IMPORT)


def circular(needs: Mapping[str, Set[str]]) -> set[str]:
    """Return what needs itself, or needs what does."""
    settled: set[str] = set()
    while free := {name for name, needed in needs.items() if needed <= settled} - settled:
        settled |= free
    return set(needs) - settled


def test_no_module_reaches_itself_through_imports() -> None:
    needs = {name: imported(file, lazy=False) & set(MODULES) - {name} for name, file in MODULES.items()}
    assert circular(needs) == set()


def folder_of(module: str) -> str:
    """Return the folder below a layer that a module stands in; the module itself where it stands in none."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return package if "." in package else module


def test_no_folder_reaches_itself_through_imports_wherever_they_stand() -> None:
    needs: dict[str, set[str]] = {folder_of(module): set() for module in MODULES}
    for module, file in MODULES.items():
        folder = folder_of(module)
        needs[folder] |= {folder_of(name) for name in imported(file) & set(MODULES)} - {folder}
    assert circular(needs) == set()


@EACH_FOLDER
def test_a_folder_says_in_one_sentence_what_it_owns(folder: Path) -> None:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert re.fullmatch(r"[A-Z][^.!?\n]*\.", docstring)


@EACH_FOLDER
def test_a_folder_holds_3_to_12_modules(folder: Path) -> None:
    modules = len([file for file in folder.glob("*.py") if file.name != "__init__.py"])
    assert 3 <= modules <= 12 or MODULES_OF.get(str(folder.relative_to(ROOT))) == modules


def test_open_clip_is_imported_in_its_backbone_only() -> None:
    importing = {name for name, file in MODULES.items() if "open_clip" in first(imported(file))}
    assert importing == {"engine.backbones.open_clip"}


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.count(".") == 2 and name.startswith("indexer.")]
)
def test_a_module_of_the_indexer_has_a_test_file_that_mirrors_it(module: str) -> None:
    layer, folder, name = module.split(".")
    # names of test files are unique, so some say of which kind they are: test_partial_policy
    kind = re.sub("ies$", "y", folder).removesuffix("s")
    files = [f"test_{words}.py" for words in (name, f"{kind}_{name}", f"{name}_{kind}")]
    assert any((ROOT / "tests" / layer / folder / file).is_file() for file in files)


@EACH_FILE
def test_nothing_is_ever_unpickled(file: Path) -> None:
    tree = parsed(file)
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    loaded = {f"{node.value.id}.{node.attr}" for node in attributes if isinstance(node.value, ast.Name)}
    allowed = {
        keyword.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "allow_pickle" and isinstance(keyword.value, ast.Constant)
    }
    assert not first(imported(file)) & NEVER
    assert not loaded & {"torch.load", "torch.save", "np.load_pickle"}
    assert True not in allowed


@EACH_FILE
def test_a_file_is_at_most_250_lines(file: Path) -> None:
    assert file.name in LONG_FILES or len(file.read_text().splitlines()) <= MOST_LINES


@EACH_FILE
def test_a_function_is_at_most_40_lines_below_its_signature(file: Path) -> None:
    functions = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.body[0].lineno + 1 for node in functions}
    assert {name for name, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == set()


@EACH_FILE
def test_a_class_of_ours_inherits_from_nothing_of_ours(file: Path) -> None:
    bases = {
        ast.unparse(base)
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    assert bases <= {"Protocol", "nn.Module", "Exception", "UserWarning", "UserError"}


def named_settings(file: Path) -> set[str]:
    """Return the names of the settings that the messages of a file speak of."""
    calls = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.Call)]
    named = [call.args[0] for call in calls if ast.unparse(call.func) in ("Setting", "InvalidSetting")]
    return {str(name.value) for name in named if isinstance(name, ast.Constant)}


@EACH_FILE
def test_no_layer_speaks_of_options_of_the_command_line(file: Path) -> None:
    tree = parsed(file)
    holders = [
        node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    docstrings = {ast.get_docstring(node, clean=False) for node in holders}
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    spoken = {
        text for text in texts - docstrings if re.search(r"(^|[\s`'\"])--[a-z][a-z-]*(?![a-z-:])", text)
    }
    assert name_of(file) in SPEAK_OF_OPTIONS or spoken == set()


def test_every_setting_that_a_message_speaks_of_is_an_option_of_the_command_line() -> None:
    commands: dict[str, Any] = vars(typer.main.get_command(cli.app))["commands"]
    options = {option for command in commands.values() for one in command.params for option in one.opts}
    settings = set[str]().union(*map(named_settings, FILES))
    assert {"form", "lr", "to"} <= settings
    assert {cli.option_of(setting) for setting in settings} <= options


def modules_after(code: str) -> set[str]:
    """Return the first names of the modules that a fresh interpreter holds after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return first(set(done.stdout.split()))


def test_importing_the_command_line_pulls_in_nothing_heavy() -> None:
    assert not modules_after("import cli") & HEAVY


def test_the_help_of_every_command_pulls_in_nothing_heavy() -> None:
    code = """
import cli, contextlib, io, sys
for command in ["", *cli.command().commands]:
    sys.argv = ["mneme", *command.split(), "--help"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main()"""
    assert not modules_after(code) & HEAVY


def test_the_builtin_backbone_never_imports_open_clip(tmp_path: Path) -> None:
    folder = colours(tmp_path / "pictures", "red", "green", "blue", "white", "black", "grey")
    commands = [
        ["index", str(folder), "--backbone", "builtin"],
        ["train", "--task", "pictures", "--epochs", "1"],
        ["query", "a red picture"],
        ["evaluate", "--gallery", "all"],
    ]
    code = f"""
import cli, contextlib, io, sys
for command in {commands}:
    sys.argv = ["mneme", *command, "-w", {str(tmp_path)!r}]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            cli.main()
    except SystemExit as left:
        assert left.code == 0, command"""
    assert not modules_after(code) & {"open_clip", "torchvision", "timm", "transformers"}
