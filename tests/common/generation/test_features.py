"""Features of given texts are those that the discriminator reads: right rows, right positions, numpy types."""

import numpy as np
import torch
from transformers import PreTrainedModel

from common.generation.features import token_features


def test_each_row_holds_the_state_that_predicted_its_token(qwen2: PreTrainedModel) -> None:
    ids = [[1, 2, 3, 4, 5, 96], [7, 8, 9]]
    found = token_features(qwen2, ids, prompt_lens=[3, 2])
    assert [features.ids_T.tolist() for features in found] == [[4, 5, 96], [9]]
    assert [features.prompt_ids_P.tolist() for features in found] == [[1, 2, 3], [7, 8]]
    with torch.no_grad():
        hidden_TD = qwen2.get_decoder()(input_ids=torch.tensor([ids[0]])).last_hidden_state[0]
    np.testing.assert_allclose(found[0].hidden_TD.astype(np.float32), hidden_TD[2:5].numpy(), atol=5e-3)
    assert (found[0].ids_T.dtype, found[0].hidden_TD.dtype, found[0].stats_T3.dtype) == (np.int32, np.float16, np.float32)
    assert found[0].stats_T3.shape == (3, 3)


def test_features_carry_no_gradient_and_leave_the_model_as_it_was(qwen2: PreTrainedModel) -> None:
    token_features(qwen2, [[1, 2, 3]], prompt_lens=[1])
    assert all(parameter.grad is None for parameter in qwen2.parameters())
    assert token_features(qwen2, [], prompt_lens=[]) == []
