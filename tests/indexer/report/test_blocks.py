from indexer.report import blocks


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
