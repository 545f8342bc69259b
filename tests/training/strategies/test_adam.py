import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.heads.head import Head
from training.batch import Batch
from training.gradient import Gradient, GradientFn, compose
from training.losses.pairwise import infonce
from training.strategies.adam import Adam, Decay

NOTHING = Batch({}, {}, {}, torch.zeros(0, dtype=torch.int64), torch.zeros(0))
WEIGHTS = ("layers.image.weight", "layers.text.weight")


def make_head() -> Head:
    head = Head("linear", 4)
    for modality in ("image", "text"):
        head.add_branch(modality, 5)
    return head


def noise(step: int) -> dict[str, Tensor]:
    """Return a gradient; the second branch is absent from every third step."""
    draw = torch.Generator().manual_seed(step)
    names = WEIGHTS if step % 3 else WEIGHTS[:1]
    return {name: torch.randn(4, 5, generator=draw) * 10.0 ** (step % 5 - 2) for name in names}


def descend(head: Head, step: GradientFn, lr: float) -> None:
    with torch.no_grad():
        for name, direction in step(NOTHING).by_name.items():
            head.get_parameter(name).sub_(lr * direction)


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_decay_and_adam_agree_with_adamw_over_20_steps(weight: float) -> None:
    ours, theirs = make_head(), make_head()
    adamw = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=weight)
    steps = iter(range(20))
    step = compose(
        [Decay(weight), Adam()], ours, lambda batch: Gradient(torch.tensor(0.0), noise(next(steps)))
    )
    for number in range(20):
        descend(ours, step, 0.01)
        for name, p in theirs.named_parameters():
            p.grad = noise(number).get(name)
        adamw.step()
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=1e-6)


def test_a_branch_without_gradient_is_not_pulled_towards_zero() -> None:
    head, g = make_head(), {"layers.image.weight": torch.ones(4, 5)}
    gradient = Decay(0.5).gradient(head, NOTHING, lambda batch: Gradient(torch.tensor(0.0), g))
    assert set(gradient.by_name) == {"layers.image.weight"}


def test_a_branch_without_gradient_gets_no_step_from_old_moments() -> None:
    head, adam = make_head(), Adam()
    adam.gradient(head, NOTHING, lambda batch: Gradient(torch.tensor(0.0), noise(1)))
    gradient = adam.gradient(head, NOTHING, lambda batch: Gradient(torch.tensor(0.0), noise(3)))
    assert set(gradient.by_name) == {"layers.image.weight"}


def test_decay_pulls_by_its_weight_times_the_parameter() -> None:
    head = make_head()
    zero = {name: torch.zeros(4, 5) for name in WEIGHTS}
    gradient = Decay(0.5).gradient(head, NOTHING, lambda batch: Gradient(torch.tensor(0.0), zero))
    assert_close(gradient.by_name[WEIGHTS[0]], 0.5 * head.get_parameter(WEIGHTS[0]).detach())


def test_the_first_step_of_adam_is_the_sign_of_the_gradient() -> None:
    g = noise(1)
    gradient = Adam().gradient(make_head(), NOTHING, lambda batch: Gradient(torch.tensor(0.0), g))
    assert_close(gradient.by_name[WEIGHTS[0]], g[WEIGHTS[0]].sign(), rtol=0, atol=1e-4)


def test_links_pass_the_loss_on_as_it_was() -> None:
    step = compose([Decay(), Adam()], make_head(), lambda batch: Gradient(torch.tensor(3.0), noise(1)))
    assert float(step(NOTHING).loss) == 3.0


def test_adam_does_not_write_into_the_gradient_it_was_given() -> None:
    g = noise(1)
    Adam().gradient(make_head(), NOTHING, lambda batch: Gradient(torch.tensor(0.0), g))
    assert_close(g, noise(1), rtol=0, atol=0)


def test_the_moments_last_one_lesson() -> None:
    head, adam = make_head(), Adam()
    adam.gradient(head, NOTHING, lambda batch: Gradient(torch.tensor(0.0), noise(1)))
    adam.end_task(head, [], infonce)
    assert adam.state == {}
