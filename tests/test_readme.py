"""The README's Python example runs as it stands, and the commands it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.scan.nifti import read_nifti, write_nifti

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_python_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    phantom = make_phantom(0, PhantomConfig(spacing_mm=(6.0, 5.0, 5.0), vessels=5))
    write_nifti(phantom.scan, Path("ct.nii.gz"))
    write_nifti(phantom.mask, Path("mask.nii.gz"))
    exec(compile(example, "README.md", "exec"), {})
    assert "% of the lungs" in capsys.readouterr().out
    assert set(np.unique(read_nifti(Path("mask.nii.gz")).voxels)) <= {0, 1}


def test_every_command_and_option_that_the_readme_names_exists():
    import typer

    from tumorspread.cli.app import app

    root = typer.main.get_command(app)
    lines = re.findall(r"^tumorspread (.*?)(?:\s+#.*)?$", README.read_text(), re.MULTILINE)
    assert len(lines) >= 10
    for line in lines:
        words = line.split()
        command = root
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        if line == "--help":
            continue
        assert not hasattr(command, "commands"), f"{line}: no such command"
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        for word in words:
            if word.startswith("-"):
                assert word in known, f"{line}: {word} is unknown"


@pytest.mark.parametrize(
    "path",
    [
        "docs/findings.md", "docs/followup.md", "docs/report.md", "docs/report.png", "docs/followup.png", "docs/accuracy.md",
        "CITATION.cff", "LICENSE",
    ],
)  # fmt: skip
def test_every_file_that_the_readme_points_to_is_there(path):
    assert path in README.read_text()
    assert (README.parent / path).is_file()
