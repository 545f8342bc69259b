"""An evaluation as one HTML file that needs nothing else: in words, figures and pictures."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from engine.errors import UserError
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.results import Result
from indexer.report import examples, html, sections, theme
from indexer.report.sections import Report

EXTRA = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}
"""The modules that a report needs and nothing else of mneme does, and the packages that bring them."""

SECTIONS = (
    sections.summary,
    sections.policies,
    sections.matrices,
    sections.curves,
    sections.costs,
    sections.embeddings,
    sections.causes,
    examples.section,
)


def require_extra() -> None:
    """Raise UserError where a package that a report needs is not installed."""
    absent = [package for module, package in EXTRA.items() if find_spec(module) is None]
    if absent:
        raise UserError(f"a report needs {' and '.join(absent)}: run `pip install 'mneme[report]'`")


def write(path: Path, evaluation: Evaluation, results: Sequence[Result]) -> None:
    """Write the page in one step.

    Args:
        results: all of the evaluation's, as it yields them.
    """
    report = Report(evaluation, results)
    html.write(
        path,
        "mneme: recall and forgetting",
        theme.css_variables() + theme.STYLE,
        "".join(section(report) for section in SECTIONS),
    )
