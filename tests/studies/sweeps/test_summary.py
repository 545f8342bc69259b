from typing import Any

import pytest

from studies.sweeps import summary
from studies.sweeps.summary import Estimate, SummaryRow


def result(seed: int, final: float | None, **other: Any) -> dict[str, Any]:
    """Return what a file holds of a run with one matrix, for a known task."""
    names = {"method": "ewc", "loss": "infonce", "head": "mlp", "seed": seed}
    direction = {"policy": "reindex", "merge": None, "query": "text", "target": "image", "k": 10}
    measured = {"final": final, "forgetting": None, "bwt": None, "plasticity": None, "mean_chance": 0.1}
    matrix = {**direction, **measured, **{name: value for name, value in other.items() if name not in names}}
    return {**names, **{name: other[name] for name in names if name in other}, "results": [matrix]}


def row(method: str = "ewc", policy: str = "reindex", **figures: Estimate) -> SummaryRow:
    named = {f"{name}@10": figure for name, figure in figures.items()}
    return SummaryRow(method, "infonce", "mlp", policy, None, "text", "image", (0, 1), named)


def test_a_figure_is_the_mean_and_the_deviation_of_a_draw_over_seeds() -> None:
    (averaged,) = summary.rows([result(0, 0.2), result(1, 0.4)])
    figure = averaged.figures["recall@10"]
    assert (figure.mean, figure.sd) == pytest.approx((0.3, 0.02**0.5))
    assert (figure.n, averaged.seeds) == (2, (0, 1))


def test_one_seed_has_no_deviation() -> None:
    (averaged,) = summary.rows([result(0, 0.2)])
    assert averaged.figures["recall@10"] == Estimate(0.2, None, 1)


def test_a_seed_without_the_figure_is_not_averaged() -> None:
    (averaged,) = summary.rows([result(0, 0.2, bwt=-0.5), result(1, 0.4)])
    assert averaged.figures["bwt@10"] == Estimate(-0.5, None, 1)


def test_two_k_are_two_figures_of_one_row() -> None:
    (averaged,) = summary.rows([result(0, 0.2), result(0, 0.1, k=1)])
    assert {name: figure.mean for name, figure in averaged.figures.items() if "recall" in name} == {
        "recall@10": 0.2,
        "recall@1": 0.1,
    }


@pytest.mark.parametrize("other", ["method", "loss", "head", "policy", "merge", "query", "target"])
def test_what_differs_in_a_name_is_another_row(other: str) -> None:
    assert len(summary.rows([result(0, 0.2), result(0, 0.4, **{other: "other"})])) == 2


def test_a_matrix_without_a_single_figure_is_no_row() -> None:
    assert summary.rows([result(0, None, mean_chance=None)]) == []


def test_markdown_leaves_out_what_all_rows_share() -> None:
    rows = [row("ewc", recall=Estimate(0.4124, 0.0121, 2)), row("mas", recall=Estimate(0.5, None, 1))]
    assert summary.to_markdown(rows) == (
        "| method | R@10 |\n| --- | --- |\n| ewc | 0.412 ± .012 |\n| mas | 0.500 |\n"
    )


def test_a_figure_that_a_row_lacks_is_a_dash() -> None:
    rows = [row("ewc", recall=Estimate(0.4, None, 1), bwt=Estimate(-0.1, None, 1)), row("joint")]
    assert summary.to_markdown(rows).splitlines()[2:] == ["| ewc | 0.400 | -0.100 |", "| joint | - | - |"]


def test_what_is_lost_to_rounding_has_no_sign() -> None:
    assert "| 0.000 |" in summary.to_markdown([row(bwt=Estimate(-1e-9, None, 1))])


def test_a_bar_in_a_name_does_not_open_a_cell() -> None:
    assert "| a\\|b | 0.400 |" in summary.to_markdown([row("a|b", recall=Estimate(0.4, None, 1))])


def test_latex_is_a_plain_tabular_in_which_nothing_of_a_name_is_a_command() -> None:
    rows = [
        row(r"50%_a & {b}~\c^#$", recall=Estimate(0.4124, 0.0121, 2)),
        row("b", recall=Estimate(0.5, None, 1)),
    ]
    assert summary.to_latex(rows).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\hline",
        r"method & R@10 \\",
        r"\hline",
        r"50\%\_a \& \{b\}\textasciitilde{}\textbackslash{}c\textasciicircum{}\#\$ & 0.412 $\pm$ .012 \\",
        r"b & 0.500 \\",
        r"\hline",
        r"\end{tabular}",
    ]


def test_csv_has_a_line_for_each_figure_with_all_its_names() -> None:
    text = summary.to_csv([row(recall=Estimate(0.4, 0.1, 2), chance=Estimate(0.1, None, 1))])
    assert text.splitlines() == [
        "method,loss,head,policy,merge,query,target,k,metric,mean,sd,n,seeds",
        "ewc,infonce,mlp,reindex,known,text,image,10,recall,0.4,0.1,2,0 1",
        "ewc,infonce,mlp,reindex,known,text,image,10,chance,0.1,,1,0 1",
    ]
