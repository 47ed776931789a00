import torch

from train_app.stages.adversarial import rewards
from train_app.stages.adversarial.rewards import fairness_rewards
from train_app.stages.workbench import Workbench


def test_a_sample_whose_likelihood_hangs_on_a_trait_earns_less(bench: Workbench, monkeypatch) -> None:
    """Twins that the tiny base's vocabulary tells apart; for a policy that is shown the same of both there is nothing to lose."""
    contexts = [example.context for example in bench.splits.discriminator[:3]]
    groups = bench.write(contexts, k=2, stage="test", step=0)

    def earned(*personas: str) -> torch.Tensor:
        twins = lambda context, trait, *, seed: tuple(context.model_copy(update={"persona": one}) for one in personas)  # noqa: E731
        monkeypatch.setattr(rewards, "counterfactuals", twins)
        return fairness_rewards(bench, contexts, groups, seed=1)

    apart = earned("听歌", "音色")
    assert apart.shape == (3, 2)
    assert (apart < 0).all()
    assert torch.equal(apart, earned("听歌", "音色"))
    assert torch.allclose(apart, earned("音色", "听歌"))
    assert (earned("听歌", "听歌") == 0).all()
