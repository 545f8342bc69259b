import re
from dataclasses import replace

from indexer.report import blocks
from indexer.report.narrative import MeanCause
from judged import known, unknown

MEAN = MeanCause("reindex", "text", "<i>", {"text": 0.25, "<i>": 0.5}, 0.8, -0.001, "routed", 0.4)


def rows_of(table: str) -> list[list[str]]:
    """Return the contents of every cell, row by row."""
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", table)]


def best_of(table: str) -> list[str]:
    return re.findall('<td class="best">(.*?)</td>', table)


def test_several_blocks_have_titles_and_one_has_none() -> None:
    alone = blocks.section("Policies", "a note", [("Text to image", "<p>a</p>")])
    first_of_two = blocks.section("Policies", "a note", [("Text to image", "<p>a</p>"), ("", "<p>b</p>")])

    assert alone == '<h2>Policies</h2>\n<p class="note">a note</p>\n<div><div><p>a</p></div>\n</div>\n'
    assert "<div><h3>Text to image</h3><p>a</p></div>\n<div><p>b</p></div>" in first_of_two


def test_a_style_is_the_class_of_what_holds_the_blocks() -> None:
    assert '<div class="row wide"><div>a</div>' in blocks.section("T", "n", [("", "a")], style="row wide")


def test_all_blocks_but_the_first_are_folded_away() -> None:
    assert blocks.folded([("A", "a"), ("B", "b"), ("C", "c")]) == [
        (
            "A",
            "<h3>A</h3>a<details><summary>B</summary>b</details><details><summary>C</summary>c</details>",
        )
    ]


def test_a_block_alone_has_nothing_to_fold() -> None:
    assert blocks.folded([("A", "a")]) == [("A", "a")]
    assert blocks.folded([]) == []


def test_figures_of_a_row_have_their_captions() -> None:
    assert blocks.row([("reindex", "<svg>"), ("matched", "<table>")]) == (
        '<div class="row"><div><h4>reindex</h4><svg></div><div><h4>matched</h4><table></div></div>'
    )


def test_a_legend_gives_names_the_colours_of_their_order_and_marks_none() -> None:
    assert blocks.legend(["sky", "life"], ["● known"]) == (
        '<ul class="legend"><li><i style="background:var(--c0)"></i>sky</li>'
        '<li><i style="background:var(--c1)"></i>life</li><li>● known</li></ul>'
    )


def test_the_title_of_a_direction_begins_with_a_capital_and_runs_nothing() -> None:
    assert blocks.direction_title("image+audio", "<b>") == "Image+audio to &lt;b&gt;"


def test_one_is_not_plural() -> None:
    assert [blocks.plural(n, "task") for n in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


def test_policies_have_a_row_each_and_two_columns_for_each_merge() -> None:
    table = blocks.policy_table(
        [
            known("reindex", 0.5, 0.1),
            unknown("reindex", 0.4, "routed"),
            known("matched", 0.6, None),
            unknown("matched", None, "routed"),
        ]
    )

    assert rows_of(table) == [
        ["", "task known", "unknown, by probability"],
        ["", "recall", "lost", "recall", "lost"],
        ["reindex", ".500", ".100", ".400", ".000"],
        ["matched", ".600", "-", "-", ".000"],
        ["chance", ".150", "", ".150", ""],
    ]


def test_the_highest_recall_and_the_least_loss_of_a_merge_are_marked() -> None:
    results = [
        known("reindex", 0.5, -0.2),
        unknown("reindex", 0.3),
        known("matched", 0.6, -0.1),
        unknown("matched", 0.2),
    ]

    assert best_of(blocks.policy_table(results)) == ["-.200", ".300", ".000", ".600", ".000"]


def test_figures_that_look_alike_are_marked_alike() -> None:
    results = [known("reindex", 0.5, 1e-17), known("matched", 0.6, 0.0)]

    assert best_of(blocks.policy_table(results)) == [".000", ".600", ".000"]


def test_a_table_where_nothing_was_measured_marks_nothing() -> None:
    assert best_of(blocks.policy_table([known("reindex", None, None)])) == []


def test_chance_is_that_of_each_merge() -> None:
    results = [known("reindex", 0.5, 0.1), replace(unknown("reindex", 0.4), chance=[0.02, 0.04])]

    assert rows_of(blocks.policy_table(results))[-1] == ["chance", ".150", "", ".030", ""]


def test_causes_have_a_row_for_each_policy() -> None:
    other = replace(MEAN, policy="matched", overlap=0.0)

    assert rows_of(blocks.cause_table([MEAN, other])) == [
        ["", "drift, text", "drift, &lt;i&gt;", "cosine of pairs, new", "now", "others in top ten, routed"],
        ["reindex", "0.25", "0.50", "0.80", "0.00", "0.40"],
        ["matched", "0.25", "0.50", "0.80", "0.00", "0.00"],
    ]


def test_without_old_tasks_there_is_no_table_of_causes() -> None:
    assert blocks.cause_table([]) == ""


def test_a_heat_map_names_lessons_and_tasks_and_leaves_empty_what_was_not_there() -> None:
    table = blocks.heat_map([[0.333, None], [0.0, 1.0]], ["sky", "<b>"], ["sky", "<b>"], 1.0)

    assert rows_of(table) == [
        ["", "<span>sky</span>", "<span>&lt;b&gt;</span>"],
        ["1 sky", ".33", ""],
        ["2 &lt;b&gt;", ".00", "1.00"],
    ]


def test_a_heat_map_is_coloured_by_the_share_of_the_strongest() -> None:
    table = blocks.heat_map([[0.1, None, 0.4]], ["a", "b", "c"], ["a"], 0.4)

    assert re.findall("<td.*?</td>", table) == [
        '<td style="--share: 25%">.10</td>',
        "<td></td>",
        '<td style="--share: 100%">.40</td>',
    ]


def test_a_heat_map_of_nothing_found_has_no_colour() -> None:
    assert '"--share: 0%"' in blocks.heat_map([[0.0]], ["a"], ["a"], 0.0)


def test_a_large_heat_map_has_colours_alone() -> None:
    names = [str(n) for n in range(13)]

    assert rows_of(blocks.heat_map([[0.5] * 13], names, ["a"], 1.0)) == [[""] * 13]
    assert rows_of(blocks.heat_map([[0.5]] * 13, ["a"], names, 1.0)) == [[""]] * 13


def test_a_heat_map_of_twelve_tasks_has_their_names_and_numbers() -> None:
    table = blocks.heat_map([[0.5] * 12] * 12, ["task"] * 12, ["lesson"] * 12, 1.0)

    assert rows_of(table)[-1] == ["12 lesson", *[".50"] * 12]
