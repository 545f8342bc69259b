"""An evaluation as one HTML file that needs nothing else: in words, figures and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

from engine.evaluation import metrics
from indexer.evaluation.composed_queries import parts
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.results import Result
from indexer.evaluation.runs import Trial
from indexer.report import costs, examples, html, narrative, plots, sections, theme
from indexer.report import tsne as maps
from indexer.report.plots import Point
from indexer.report.sections import HOW, SAID, many, named, section

K = 10
"""The K that is shown, where it was asked for."""

ALONE = "No two lessons to compare yet."
MARKS = (f"● {SAID['known']}", f"■ {SAID['by cosine']}", f"▲ {SAID['by probability']}")


@dataclass(frozen=True)
class Report:
    """An evaluation and its results, all that a page shows."""

    evaluation: Evaluation
    results: Sequence[Result]

    @property
    def k(self) -> int:
        """The K that is shown."""
        return K if K in self.evaluation.settings.ks else max(self.evaluation.settings.ks)

    @cached_property
    def directions(self) -> list[Trial]:
        """Every direction from one modality to another."""
        return [way for way in self.every if len(parts(way.query)) == 1]

    @property
    def every(self) -> list[Trial]:
        """Every direction, from two modalities to a third too; text to image comes first."""
        return sorted(self.evaluation.trials, key=lambda way: (way.query != "text", way.target != "image"))

    def of(self, way: Trial) -> list[Result]:
        """Return the results of a direction at the K that is shown."""
        return [r for r in self.results if (r.query, r.target, r.k) == (way.query, way.target, self.k)]

    def page(self) -> str:
        """Return the body of the page."""
        shown = (
            self.top(),
            self.table(),
            self.matrices(),
            self.curves(),
            self.prices(),
            self.maps(),
            self.causes(),
        )
        return "".join((*shown, examples.show(self.evaluation, self.directions, self.k)))

    def top(self) -> str:
        """Return what it comes to, and what of."""
        held, lessons = self.evaluation.store.counts(), len(self.evaluation.lessons)
        items = ", ".join(f"{count} {html.words(modality, 40)}" for modality, count in sorted(held.items()))
        asked = sum(sum(self.of(way)[0].queries) for way in self.directions)
        setting = self.evaluation.settings
        facts = (
            f"{many(len(self.evaluation.tasks), 'task')}, {many(lessons, 'lesson')}; items: {items}; "
            f"{asked} queries of split {setting.split}, gallery {setting.gallery}; "
            f"right is what shares a {setting.relevance}."
        )
        beside = {r.policy: r.seconds for r in self.results if r.seconds is not None}
        if beside:
            told = ", ".join(f"{escape(name)} ({seconds:.0f} s)" for name, seconds in beside.items())
            facts += f" Trained beside the history, to compare: {told}."
        said = []
        for n, way in enumerate(self.directions):
            style = "lead" if n == 0 else "note"
            name = "" if len(self.directions) == 1 else f"<b>{named(way)}.</b> "
            said.append(f'<p class="{style}">{name}{escape(narrative.headline(self.of(way)))}</p>\n')
        return f'<h1>mneme: recall and forgetting</h1>\n{"".join(said)}<p class="note">{facts}</p>\n'

    def table(self) -> str:
        """Return final recall and forgetting of every policy."""
        note = (
            f"R@{self.k} after the last lesson, mean over tasks; lost: the mean fall of old tasks from their best. "
            "What finds little has little to lose."
        )
        return section(
            "Policies",
            note,
            "wide",
            [(named(way), sections.policies(self.of(way))) for way in self.every],
        )

    def matrices(self) -> str:
        """Return every matrix as a heat map."""
        note = f"R@{self.k} after each lesson (rows) on the queries of each task (columns)."
        lessons = self.evaluation.lessons
        if len(lessons) < 2:
            return section("Lesson by lesson", ALONE, "", [])
        blocks = []
        for way in self.directions:
            held = [result for result in self.of(way) if result.final is not None]
            top = max(
                (value for r in held for row in r.matrix for value in row if value is not None), default=1.0
            )
            drawn = [
                f"<div><h4>{result.policy}, {SAID[HOW[result.merge]]}</h4>"
                f"{plots.heat(result.matrix, self.evaluation.tasks, lessons, top)}</div>"
                for merge in HOW
                for result in held
                if result.merge == merge
            ]
            blocks.append((named(way), f'<div class="row">{"".join(drawn)}</div>'))
        return section("Lesson by lesson", note, "", sections.folded(blocks))

    def curves(self) -> str:
        """Return mean recall over the tasks known so far, lesson by lesson."""
        note = f"Mean R@{self.k} over the tasks learned so far. Dotted: chance."
        if len(self.evaluation.lessons) < 2:
            return section("Over time", ALONE, "", [])
        policies = [system.name for system in self.evaluation.systems]
        key = sections.key([(policy, f"c{n}") for n, policy in enumerate(policies)])
        return section("Over time", note, "", [(named(w), key + self._curves(w)) for w in self.directions])

    def _curves(self, way: Trial) -> str:
        results = self.of(way)
        means = {
            id(r): [metrics.mean([v for v in row if v is not None]) for row in r.matrix] for r in results
        }
        limit = 1.08 * max((v for held in means.values() for v in held if v is not None), default=1.0) or 1.0
        drawn = []
        for merge, how in HOW.items():
            held = [result for result in results if result.merge == merge]
            if held:
                lines: dict[str, list[float | None]] = {result.policy: means[id(result)] for result in held}
                guessed = self._chance(way, held[0])
                drawn.append(f"<div><h4>{SAID[how]}</h4>{plots.curves(lines, limit, guessed)}</div>")
        return f'<div class="row">{"".join(drawn)}</div>'

    def _chance(self, way: Trial, result: Result) -> list[float | None]:
        """Return what a random order would have found after each lesson, averaged over the tasks known then."""
        found = []
        for state in way.states[result.policy]:
            plan = state.plan
            guessed = [
                way.eval_set.chance(task, [task] if result.task_known else list(plan), self.k)
                for task in plan
            ]
            found.append(metrics.mean([value for value in guessed if value is not None]))
        return found

    def prices(self) -> str:
        """Return recall against what it costs to bring the index to a policy."""
        note = (
            "What it costs to build, from stored features, the shards that a policy wants after the last lesson "
            "and did not have before it; what auto and partial measure in order to choose is not counted. "
            "Seconds at the rate of a sample on this machine, and of a reference its training. "
            "Lines: the most that can be had for each cost, "
            "task known (solid) and unknown (dashed)."
        )
        blocks = []
        for way in self.directions:
            points = self.points(way)
            labels = list(dict.fromkeys(point.label for point in points))
            key = sections.key([(escape(label), f"c{n}") for n, label in enumerate(labels)], MARKS)
            seconds = plots.price(points, labels, [point.seconds for point in points], "seconds")
            size = plots.price(points, labels, [point.bytes / 1e6 for point in points], "MB written")
            blocks.append((named(way), f'{key}<div class="row wide">{seconds}{size}</div>'))
        return section("Cost against recall", note, "", blocks)

    def points(self, way: Trial) -> list[Point]:
        """Return what every policy and reference costs and finds; a reference's training is part of its cost."""
        spent = {cost.policy: cost for cost in costs.costs(self.evaluation, way)}
        return [
            Point(
                r.policy,
                HOW[r.merge],
                spent[r.policy].seconds + (r.seconds or 0.0),
                spent[r.policy].bytes,
                r.final,
            )
            for r in self.of(way)
            if r.final is not None
        ]

    def maps(self) -> str:
        """Return the embeddings of one direction in the plane, policy by policy."""
        way = self.directions[0]
        found = {policy: maps.embedding(way, policy) for policy in self.evaluation.settings.policies}
        drawn = [
            f"<div><h4>{p}</h4>{plots.cloud(held)}</div>" for p, held in found.items() if held is not None
        ]
        if not drawn:
            return section("Embeddings", "There are too few different items to draw a map of.", "", [])
        key = sections.key(
            [
                (html.words(task, 40), f"c{n % len(theme.PALE)}")
                for n, task in enumerate(self.evaluation.tasks)
            ]
        )
        note = (
            f"Queries ({escape(way.query)}, crosses) and gallery items ({escape(way.target)}, circles) as each "
            f"policy has them after the last lesson, by t-SNE. At most {maps.MOST} points."
        )
        return section("Embeddings", note, "", [("", f'{key}<div class="row">{"".join(drawn)}</div>')])

    def causes(self) -> str:
        """Return, policy by policy, what costs it most and what treats that."""
        if len(self.evaluation.lessons) < 2:
            return ""
        found = narrative.findings(list(self.evaluation.diagnoses()), self.evaluation.lessons[-1])
        blocks = []
        for way in self.directions:
            held = [one for one in found if (one.query, one.target) == (way.query, way.target)]
            said = [
                f"<p><b>{one.policy}.</b> "
                f"{escape(narrative.verdict(one, [r for r in self.of(way) if r.policy == one.policy]))}</p>\n"
                for one in held
            ]
            blocks.append((named(way), f"{''.join(said)}{sections.causes(held)}"))
        note = "Old tasks, averaged, after the last lesson. Drift is 1 - cosine to where a task's own lesson put it."
        return section("Why, and what helps", note, "", blocks)


def write(path: Path, evaluation: Evaluation, results: Sequence[Result]) -> None:
    """Write the page in one step."""
    html.write(
        path,
        "mneme: recall and forgetting",
        theme.variables() + theme.STYLE,
        Report(evaluation, results).page(),
    )
