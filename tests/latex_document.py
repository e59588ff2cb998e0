"""A paper of two columns around the files of a report, where a TeX is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

ENGINE = next((name for name in ("pdflatex", "tectonic") if shutil.which(name)), "")
needs_tex = pytest.mark.skipif(not ENGINE, reason="no TeX is installed")

PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{array}
\IfFileExists{booktabs.sty}{\usepackage{booktabs}}{\let\toprule\hline\let\midrule\hline\let\bottomrule\hline}
\begin{document}
We refer to %s.%s
%s
%s
\end{document}
"""


def built(folder: Path, tables: Iterable[Path], labels: Iterable[str], bibliography: Path | None = None) -> str:
    """Build a paper that inputs these tables and refers to their labels; what TeX said of it, of the last time.

    Raises:
        AssertionError: it does not compile.
    """
    for path in (*tables, *([bibliography] if bibliography else [])):
        shutil.copy(path, folder)
    referred = ", ".join(f"Table~\\ref{{{label}}}" for label in labels)
    inputs = "\n".join(f"\\input{{{path.name}}}" for path in tables)
    cited = f"\\bibliographystyle{{plain}}\\bibliography{{{bibliography.stem}}}" if bibliography else ""
    source = PAPER % (referred, r"\nocite{*}" if bibliography else "", inputs, cited)
    (folder / "paper.tex").write_text(source, encoding="ascii")
    if ENGINE == "tectonic":
        return _called(folder, "tectonic", "--keep-logs", "--print", "paper.tex")
    latex = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex")
    said = _called(folder, *latex)
    if bibliography and shutil.which("bibtex"):
        _called(folder, "bibtex", "paper")
    for _ in range(2):
        said = _called(folder, *latex)
    return said


def _called(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, encoding="latin-1", check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout
