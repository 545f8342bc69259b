from engine.history import Arrival, History, Lesson, newest_head, settled, tasks, up_to, versions

LEARNED = History((Lesson(1, "sky", 1), Lesson(2, "life", 2), Lesson(3, "sky", 5)))


def test_a_history_up_to_a_lesson_holds_that_lesson_and_no_later_one() -> None:
    assert up_to(LEARNED, 2) == History(LEARNED.lessons[:2])


def test_a_task_that_arrived_after_a_lesson_is_there_from_that_lesson_on() -> None:
    late = History(LEARNED.lessons, (Arrival("places", 1, 1),))
    assert [len(up_to(late, number).arrivals) for number in (0, 1, 2)] == [0, 1, 1]


def test_tasks_stand_in_the_order_in_which_they_were_learned_or_arrived() -> None:
    history = History(LEARNED.lessons[:2], (Arrival("before", 0, 0), Arrival("between", 1, 1)))
    assert tasks(history) == ["before", "sky", "between", "life"]


def test_a_task_learned_again_keeps_its_place() -> None:
    assert tasks(LEARNED) == ["sky", "life"]


def test_a_task_that_is_learned_after_it_arrived_keeps_its_place() -> None:
    assert tasks(History(LEARNED.lessons, (Arrival("life", 0, 0),))) == ["life", "sky"]


def test_the_newest_head_is_that_of_the_last_lesson() -> None:
    assert (newest_head(History()), newest_head(LEARNED)) == (0, 5)


def test_the_untrained_head_is_the_first_version_of_all() -> None:
    assert (versions(History()), versions(LEARNED)) == ([0], [0, 1, 2, 5])


def test_a_task_is_embedded_by_the_head_of_its_last_lesson() -> None:
    assert settled(LEARNED) == {"sky": 5, "life": 2}


def test_a_task_that_was_never_learned_is_embedded_by_the_head_it_arrived_with() -> None:
    late = History(LEARNED.lessons, (Arrival("life", 0, 0), Arrival("places", 1, 1)))
    assert settled(late) == {"sky": 5, "life": 2, "places": 1}
