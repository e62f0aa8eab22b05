"""A loss of the reader's own: whose defaults hold, and what a trial call refuses before anything is trained."""

import pytest

from helpers import notebook, objectives, own_loss

SOUND = "(output.sigmoid() - target).square().mul(weight).sum() / weight.sum()"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that writes a loss of that signature and body, and gives the objective."""
    monkeypatch.chdir(tmp_path)

    def make(body=SOUND, options=""):
        (tmp_path / "mine.py").write_text(
            f"import torch\n\ndef loss(output, target, weight{options}):\n    return {body}\n"
        )
        return objectives.get("mine:loss")

    return make


def test_its_own_defaults_hold_for_what_nobody_set(made):
    """gamma and balance are options of the registry too, with other defaults."""
    objective = made(options=", *, gamma=0.75, balance=0.5, epsilon=1.0")
    offered = {o: v for name in objectives.names() for o, v in objectives.get(name).options.items()}
    assert offered["gamma"] == 2.0 and offered["balance"] == 1.0
    assert own_loss.chosen(offered, ()) == {}
    assert objective.options == {"gamma": 0.75, "balance": 0.5, "epsilon": 1.0}
    assert own_loss.chosen(offered, {"gamma", "seed"}) == {"gamma": 2.0}, "set on purpose to what the registry has"
    assert own_loss.chosen(offered | {"balance": 3.0}, ()) == {"balance": 3.0}, "written into the notebook"


def test_what_papermill_was_given_is_read_off_its_cell():
    cells = ["", "gamma: float = 2.0  # help", "# Parameters\ngamma = 2.0\nloss = 'mine:loss'\n", "%pip install x"]
    assert notebook.injected(cells) == {"gamma", "loss"} and notebook.injected(cells[:2]) == set()


@pytest.mark.parametrize("spacing", [(8.0, 8.0), (8.0, 8.0, 8.0)])
def test_a_sound_loss_passes(made, spacing):
    own_loss.check(made(), 2, spacing)


@pytest.mark.parametrize(
    ("body", "options", "says"),
    [
        (
            "(output - target).square()",
            "",
            r"mine:loss returned a tensor of shape \(2, 1, 8, 8\); expected a tensor of",
        ),
        ("1.0", "", "returned a float; expected a tensor of one number"),
        (f"({SOUND}).log().log()", "", "is nan on two images of 8 x 8 voxels; expected a finite number"),
        (f"({SOUND}).detach()", "", "mine:loss has no gradient"),
        ("torch.dot(output, target)", "", "mine:loss raised RuntimeError on two images of 8 x 8 voxels: 1D tensors"),
        (SOUND, ", *, temperature", "option temperature of mine:loss has no default; give it one"),
    ],
)
def test_a_loss_of_the_wrong_form_is_named_before_training(made, body, options, says):
    with pytest.raises(ValueError, match=says):
        own_loss.check(made(body, options), 1, (8.0, 8.0))


@pytest.mark.parametrize("name", [n for n in objectives.names() if n != "softmax_published"])
def test_the_registrys_own_objectives_pass_the_same_trial(name):
    own_loss.check(objectives.get(name), 1, (8.0, 8.0))
