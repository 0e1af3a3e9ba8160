"""The house: which part may know which, how long a file and a function may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "tumorspread").rglob("*.py"))


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_import_points_the_way_the_contracts_say():
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_importing_the_package_imports_nothing_heavy():
    program = (
        "import sys, tumorspread; tumorspread.__version__; "
        "print([m for m in ('torch', 'numpy', 'scipy', 'monai', 'pydicom') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_is_there():
    import tumorspread

    for name in tumorspread.__all__:
        assert getattr(tumorspread, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'analyze'"):
        _ = tumorspread.analyze


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT / "src").as_posix())
def test_a_file_has_a_reason_and_stays_readable(path):
    text = path.read_text(encoding="utf-8")
    assert path.name == "_version.py" or ast.get_docstring(ast.parse(text)), "no module docstring"
    for function in functions(path):
        arguments = function.args
        count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
        is_command = "cli" in path.parts
        assert count <= 8 or is_command, f"{function.name} has {count} arguments"
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = function.end_lineno - body[0].lineno + 1 if body else 0
        assert lines <= 40, f"{function.name} has {lines} lines"


@pytest.mark.parametrize("name", ["torch", "monai", "lightning"])
def test_the_network_library_lives_in_its_own_places(name):
    users = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(module.split(".")[0] == name for module in modules):
                users.add(path.relative_to(ROOT / "src" / "tumorspread"))
    assert {p for p in users if p.parts[0] != "model"} <= {Path("data/patches.py"), Path("data/augment.py")}


def test_nothing_catches_everything():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                assert caught not in ("everything", "Exception", "BaseException"), f"{path}:{node.lineno}"


def test_only_the_command_line_prints():
    for path in SOURCES:
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_print = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
            assert not is_print, f"{path}:{node.lineno}"
