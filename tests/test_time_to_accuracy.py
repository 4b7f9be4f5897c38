"""What the benchmark of seconds to 95% compares is the same for all recipes."""

import pytest
import torch
from benchmark import GPT2, generate
from time_to_accuracy import collate_for_trainer, gpt2_in_transformers

from model import gpt_config
from scaffold import collate


def test_trainer_learns_the_same_tokens(examples, tokenizer):
    _, _, targets, _ = collate(examples[:4], tokenizer)
    labels = collate_for_trainer(examples[:4], tokenizer)["labels"]
    assert torch.equal(labels[:, 1:].clamp(min=-1), targets)
    assert (labels[:, 0] == -100).all()


def test_gpt2_writes_in_transformers_what_its_logits_say(tokenizer):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    c = gpt_config(2, tokenizer.vocab_size, 1024)
    model = GPT2(c)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    peer = gpt2_in_transformers(model, c)
    questions = ["Is it true?", "A longer question, so that the first one is padded: is it true?"]
    for question, written in zip(
        questions, generate(peer, tokenizer, questions, 8, None), strict=True
    ):
        ids = tokenizer.encode_question(question) + [tokenizer.step_id]
        n = len(ids)
        idx = torch.tensor([ids])
        torch.testing.assert_close(peer(idx).logits, model.logits(idx), rtol=1e-4, atol=1e-4)
        for _ in written:
            ids.append(int(model.logits(torch.tensor([ids]))[0, -1].argmax()))
        assert ids[n:] == written
