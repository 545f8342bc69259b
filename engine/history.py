"""What was learned and what arrived, in order; and which tasks and heads there were after any lesson."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Lesson:
    """One training of a task, and the head version that came of it.

    Attributes:
        digest: the checksum of the head's tensors; empty where an older mneme trained it.
    """

    number: int
    task: str
    head: int
    digest: str = field(default="", compare=False)


@dataclass(frozen=True)
class Arrival:
    """A task that was indexed without training: after which lesson, embedded by which head."""

    task: str
    after: int
    head: int


@dataclass(frozen=True)
class Reference:
    """A head that was trained beside the history, to measure the lessons by; never served.

    Attributes:
        after: how many lessons there were.
        alone: it learned its own task from the initialisation, so only that can be asked of it.
        seconds: of wall time that its training took.
        digest: as of a lesson.
    """

    method: str
    task: str
    after: int
    head: int
    alone: bool
    seconds: float
    digest: str = field(default="", compare=False)


@dataclass(frozen=True)
class History:
    """The lessons and the arrivals, each in order."""

    lessons: tuple[Lesson, ...] = ()
    arrivals: tuple[Arrival, ...] = ()


def up_to(history: History, lessons: int) -> History:
    """Return the history as it stood after so many lessons."""
    return History(
        tuple(lesson for lesson in history.lessons if lesson.number <= lessons),
        tuple(arrival for arrival in history.arrivals if arrival.after <= lessons),
    )


def tasks(history: History) -> list[str]:
    """Return the tasks in the order in which they were learned or arrived."""
    events = [(float(lesson.number), lesson.task) for lesson in history.lessons]
    events += [(arrival.after + 0.5, arrival.task) for arrival in history.arrivals]
    return list(dict.fromkeys(task for _, task in sorted(events, key=lambda event: event[0])))


def newest_head(history: History) -> int:
    """Return the head of the last lesson, 0 before the first."""
    return history.lessons[-1].head if history.lessons else 0


def versions(history: History) -> list[int]:
    """Return every head version there is, the untrained one first."""
    return [0, *(lesson.head for lesson in history.lessons)]


def settled(history: History) -> dict[str, int]:
    """Return the head that each task was embedded by when it was last learned, else when it arrived."""
    heads = {arrival.task: arrival.head for arrival in history.arrivals}
    return heads | {lesson.task: lesson.head for lesson in history.lessons}
