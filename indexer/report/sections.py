"""The sections of a report, each a function from the report to HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from engine.evaluation import metrics
from indexer.evaluation.composed_queries import parts
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.results import Result
from indexer.evaluation.runs import Trial
from indexer.report import costs as costing
from indexer.report import html, narrative, plots, tsne
from indexer.report.blocks import (
    TASK_KNOWLEDGE,
    cause_table,
    direction_title,
    folded,
    heat_map,
    legend,
    plural,
    policy_table,
    row,
    section,
)
from indexer.report.plots import CostPoint

K = 10
"""The K that is shown, where it was asked for."""

ONE_LESSON = "No two lessons to compare yet."
MARKS = [f"{mark} {name}" for mark, name in zip("●■▲", TASK_KNOWLEDGE.values(), strict=True)]


@dataclass(frozen=True)
class Report:
    """An evaluation and its results, all that a page shows."""

    evaluation: Evaluation
    results: Sequence[Result]

    @property
    def k(self) -> int:
        """The K that is shown."""
        return K if K in self.evaluation.settings.ks else max(self.evaluation.settings.ks)

    @property
    def compares_lessons(self) -> bool:
        """Whether there is an older lesson, whose task can be forgotten."""
        return len(self.evaluation.lessons) > 1

    @property
    def all_directions(self) -> list[Trial]:
        """Every direction, from two modalities to a third too; text to image comes first."""
        return sorted(self.evaluation.trials, key=lambda d: (d.query != "text", d.target != "image"))

    @property
    def directions(self) -> list[Trial]:
        """Every direction from one modality to another."""
        return [direction for direction in self.all_directions if len(parts(direction.query)) == 1]

    def of(self, direction: Trial) -> list[Result]:
        """Return the results of a direction at the K that is shown."""
        key = (direction.query, direction.target, self.k)
        return [result for result in self.results if (result.query, result.target, result.k) == key]


def summary(report: Report) -> str:
    """Return what each direction comes to, and what was evaluated."""
    headlines = []
    for n, direction in enumerate(report.directions):
        title = "" if len(report.directions) == 1 else f"<b>{_title(direction)}.</b> "
        text = escape(narrative.headline(report.of(direction)))
        headlines.append(f'<p class="{"note" if n else "lead"}">{title}{text}</p>\n')
    evaluation, settings = report.evaluation, report.evaluation.settings
    counts = sorted(evaluation.store.counts().items())
    items = ", ".join(f"{count} {html.words(modality, 40)}" for modality, count in counts)
    queries = sum(sum(report.of(direction)[0].queries) for direction in report.directions)
    facts = (
        f"{plural(len(evaluation.tasks), 'task')}, {plural(len(evaluation.lessons), 'lesson')}; items: {items}; "
        f"{queries} queries of split {settings.split}, gallery {settings.gallery}; "
        f"right is what shares a {settings.relevance}."
    )
    references = {r.policy: r.seconds for r in report.results if r.seconds is not None}
    if references:
        names = ", ".join(f"{escape(name)} ({seconds:.0f} s)" for name, seconds in references.items())
        facts += f" Trained beside the history, to compare: {names}."
    return f'<h1>mneme: recall and forgetting</h1>\n{"".join(headlines)}<p class="note">{facts}</p>\n'


def policies(report: Report) -> str:
    """Return final recall and forgetting of every policy."""
    note = (
        f"R@{report.k} after the last lesson, mean over tasks; lost: the mean fall of old tasks from their best. "
        "What finds little has little to lose."
    )
    blocks = [(_title(d), policy_table(report.of(d))) for d in report.all_directions]
    return section("Policies", note, blocks, style="row wide")


def matrices(report: Report) -> str:
    """Return every matrix as a heat map; in one direction the same colour is the same recall."""
    if not report.compares_lessons:
        return section("Lesson by lesson", ONE_LESSON, [])
    note = f"R@{report.k} after each lesson (rows) on the queries of each task (columns)."
    tasks, lessons = report.evaluation.tasks, report.evaluation.lessons
    blocks = []
    for direction in report.directions:
        results = [result for result in report.of(direction) if result.final is not None]
        values = [
            value for result in results for cells in result.matrix for value in cells if value is not None
        ]
        top = max(values, default=1.0)
        figures = [
            (f"{r.policy}, {TASK_KNOWLEDGE[merge]}", heat_map(r.matrix, tasks, lessons, top))
            for merge in TASK_KNOWLEDGE
            for r in results
            if r.merge == merge
        ]
        blocks.append((_title(direction), row(figures)))
    return section("Lesson by lesson", note, folded(blocks))


def curves(report: Report) -> str:
    """Return mean recall over the tasks known so far, lesson by lesson."""
    if not report.compares_lessons:
        return section("Over time", ONE_LESSON, [])
    names = legend([system.name for system in report.evaluation.systems])
    blocks = [(_title(d), names + _curves(report.of(d), d)) for d in report.directions]
    note = f"Mean R@{report.k} over the tasks learned so far. Dotted: chance."
    return section("Over time", note, blocks)


def _curves(results: Sequence[Result], direction: Trial) -> str:
    """Return a figure of a direction's results for each merge, all on one scale."""
    means = [[metrics.mean([v for v in cells if v is not None]) for cells in r.matrix] for r in results]
    limit = 1.08 * max((mean for line in means for mean in line if mean is not None), default=1.0) or 1.0
    figures = []
    for merge, caption in TASK_KNOWLEDGE.items():
        lines = {r.policy: line for r, line in zip(results, means, strict=True) if r.merge == merge}
        if lines:
            first = next(result for result in results if result.merge == merge)
            figures.append((caption, plots.curves(lines, limit, _chance(first, direction))))
    return row(figures)


def _chance(result: Result, direction: Trial) -> list[float | None]:
    """Return what a random order would have found after each lesson, averaged over the tasks known then."""
    means = []
    for state in direction.states[result.policy]:
        known = list(state.plan)
        searched = {task: [task] if result.task_known else known for task in known}
        each = [direction.eval_set.chance(task, tasks, result.k) for task, tasks in searched.items()]
        means.append(metrics.mean([value for value in each if value is not None]))
    return means


def costs(report: Report) -> str:
    """Return recall against what it costs to bring the index to a policy."""
    note = (
        "What it costs to build, from stored features, the shards that a policy wants after the last lesson "
        "and did not have before it; what auto and partial measure in order to choose is not counted. "
        "Seconds at the rate of a sample on this machine, and of a reference its training. "
        "Lines: the most that can be had for each cost, task known (solid) and unknown (dashed)."
    )
    blocks = []
    for direction in report.directions:
        points = cost_points(report, direction)
        labels = list(dict.fromkeys(point.label for point in points))
        seconds = plots.costs(points, labels, [point.seconds for point in points], "seconds")
        size = plots.costs(points, labels, [point.bytes / 1e6 for point in points], "MB written")
        names = legend([escape(label) for label in labels], MARKS)
        blocks.append((_title(direction), f'{names}<div class="row wide">{seconds}{size}</div>'))
    return section("Cost against recall", note, blocks)


def cost_points(report: Report, direction: Trial) -> list[CostPoint]:
    """Return what every policy and reference costs and finds; a reference's training is part of its cost."""
    spent = {cost.policy: cost for cost in costing.costs(report.evaluation, direction)}
    return [
        CostPoint(
            r.policy, r.merge, spent[r.policy].seconds + (r.seconds or 0.0), spent[r.policy].bytes, r.final
        )
        for r in report.of(direction)
        if r.final is not None
    ]


def embeddings(report: Report) -> str:
    """Return the embeddings of the first direction in the plane, policy by policy."""
    direction = report.directions[0]
    maps = {policy: tsne.scatter(direction, policy) for policy in report.evaluation.settings.policies}
    figures = [(policy, plots.scatter(points)) for policy, points in maps.items() if points is not None]
    if not figures:
        return section("Embeddings", "There are too few different items to draw a map of.", [])
    note = (
        f"Queries ({escape(direction.query)}, crosses) and gallery items ({escape(direction.target)}, circles) as "
        f"each policy has them after the last lesson, by t-SNE. At most {tsne.MOST} points."
    )
    names = legend([html.words(task, 40) for task in report.evaluation.tasks])
    return section("Embeddings", note, [("", names + row(figures))])


def causes(report: Report) -> str:
    """Return, policy by policy, what costs it most and what treats that; nothing before a second lesson."""
    if not report.compares_lessons:
        return ""
    means = narrative.mean_causes(list(report.evaluation.diagnoses()), report.evaluation.lessons[-1])
    blocks = []
    for direction in report.directions:
        here = [mean for mean in means if (mean.query, mean.target) == (direction.query, direction.target)]
        text = "".join(
            f"<p><b>{mean.policy}.</b> {_explanation(mean, report.of(direction))}</p>\n" for mean in here
        )
        blocks.append((_title(direction), text + cause_table(here)))
    note = (
        "Old tasks, averaged, after the last lesson. Drift is 1 - cosine to where a task's own lesson put it."
    )
    return section("Why, and what helps", note, blocks)


def _explanation(mean: narrative.MeanCause, results: Sequence[Result]) -> str:
    return escape(narrative.explanation(mean, [result for result in results if result.policy == mean.policy]))


def _title(direction: Trial) -> str:
    return direction_title(direction.query, direction.target)
