"""The method: what the student reads, what it must not see, both losses, decoding."""

import random

import numpy as np
import pytest
import torch

from data.algorithmic import prepare
from data.benchmarks.answers import extract
from data.tools.kv_cache import KVCache
from data.tools.machine import flops_utilisation
from data.tools.optimizers import Muon, make_optimizers
from model import GPT, GPTConfig, ShortConv, gpt_config
from sample import Decoding, generate, pick, reason
from scaffold import (
    NO_SIGNAL,
    SIGNALS,
    STEP,
    Step,
    Tokenizer,
    Trace,
    batches,
    collate,
    encode,
    encode_all,
)
from train import TrainConfig, backward


def test_encoding_by_hand():
    tok = Tokenizer([" a", " b", " c", " d", " e"])
    a, b, c, d, e = (tok.encode(letter)[0] for letter in "abcde")
    step, end, N = tok.step_id, tok.end_id, NO_SIGNAL
    long = encode(Trace("a b", [Step(2, "c"), Step(5, "d e")], "e"), tok)
    short = encode(Trace("a", [Step(0, "b")], "b"), tok)
    assert long.ids.tolist() == [a, b, step, c, step, d, e, end]
    assert long.signals.tolist() == [N, N, 2, 2, 5, 5, 5]

    idx, signals, targets, signal_targets = collate([long, short], tok)
    assert idx.tolist() == [[a, b, step, c, step, d, e], [a, step, b, end, end, end, end]]
    assert signals.tolist() == [[N, N, 2, 2, 5, 5, 5], [N, 0, 0, N, N, N, N]]
    assert targets.tolist() == [[-1, -1, c, step, d, e, end], [-1, b, end, -1, -1, -1, -1]]
    assert signal_targets.tolist() == [[-1, -1, 2, -1, 5, -1, -1], [-1, 0, -1, -1, -1, -1, -1]]

    *_, everywhere = collate([long], tok, "every")
    assert everywhere.tolist() == [[-1, -1, 2, 2, 5, 5, 5]]


def test_only_the_question_is_masked(examples, tokenizer):
    for e in examples:
        first = e.ids.tolist().index(tokenizer.step_id)
        assert e.loss_mask.tolist() == [i >= first for i in range(len(e.signals))]


def test_boundary_cannot_see_its_step(model, examples, tokenizer):
    idx, *_ = collate([examples[3]], tokenizer)

    def signal_logits(idx):
        return model.signal_head(model.hidden(idx))[0]  # (T, K)

    logits = signal_logits(idx)
    for t in (idx[0] == tokenizer.step_id).nonzero()[:, 0].tolist():
        other_step = idx.clone()
        other_step[0, t + 1 :] = (other_step[0, t + 1 :] + 5) % 256
        changed = signal_logits(other_step)
        assert torch.equal(logits[: t + 1], changed[: t + 1])
        if t + 1 < idx.size(1):
            assert not torch.equal(logits[t + 1 :], changed[t + 1 :])
        other_boundary = idx.clone()
        other_boundary[0, t] = 5  # what stands at the boundary itself does count
        assert not torch.equal(logits[t], signal_logits(other_boundary)[t])


def test_signal_conditions_its_own_step_only(model, examples, tokenizer):
    idx, signals, *_ = collate([examples[3]], tokenizer)
    hidden = model.hidden(idx)
    logits = model.token_logits(hidden, signals)
    has_last_signal = signals == signals[0, -1]
    other_signals = torch.where(has_last_signal, (signals + 1) % len(SIGNALS), signals)
    changed = (logits != model.token_logits(hidden, other_signals)).any(-1)
    assert torch.equal(changed, has_last_signal)
    bare = model.token_logits(hidden)
    in_question = signals == NO_SIGNAL
    assert torch.equal(bare[in_question], logits[in_question])


def test_both_losses_against_plain_sums(model, examples, tokenizer):
    batch = collate(examples[:5], tokenizer)
    idx, signals, targets, signal_targets = batch
    token_loss, signal_loss = model(*batch)
    hidden = model.hidden(idx)
    token_logp = model.token_logits(hidden, signals).log_softmax(-1)  # (B, T, V)
    signal_logp = model.signal_head(hidden).log_softmax(-1)  # (B, T, K)
    expected_token_loss = expected_signal_loss = 0.0
    for b in range(idx.size(0)):
        for t in range(idx.size(1)):
            if targets[b, t] >= 0:
                expected_token_loss -= token_logp[b, t, targets[b, t]].item()
            if signal_targets[b, t] >= 0:
                expected_signal_loss -= signal_logp[b, t, signal_targets[b, t]].item()
    assert token_loss.item() == pytest.approx(expected_token_loss, rel=1e-4)
    assert signal_loss.item() == pytest.approx(expected_signal_loss, rel=1e-4)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.7, 1.0])
def test_beta_weighs_both_losses(beta, model, examples, tokenizer):
    batch = collate(examples[:3], tokenizer)
    _, _, targets, signal_targets = batch
    token_loss, signal_loss = model(*batch)
    n_tokens, n_signals = (targets >= 0).sum(), (signal_targets >= 0).sum()
    parameters = [p for p in model.parameters() if p.requires_grad]
    token_grads = torch.autograd.grad(token_loss / n_tokens, parameters, allow_unused=True)
    signal_loss = model(*batch)[1]
    signal_grads = torch.autograd.grad(signal_loss / n_signals, parameters, allow_unused=True)
    backward(model, [batch], TrainConfig(beta=beta), "cpu")
    for p, token_grad, signal_grad in zip(parameters, token_grads, signal_grads, strict=True):
        token_grad = torch.zeros_like(p) if token_grad is None else token_grad
        signal_grad = torch.zeros_like(p) if signal_grad is None else signal_grad
        expected = (1 - beta) * token_grad + beta * signal_grad
        torch.testing.assert_close(p.grad, expected, rtol=1e-4, atol=1e-6)


def test_clone_reads_no_signal(model, examples, tokenizer):
    idx, signals, targets, signal_targets = collate(examples[:4], tokenizer)
    clone_loss, signal_loss = model(idx, None, targets, signal_targets)
    scaffold_loss, _ = model(idx, signals, targets, signal_targets)
    assert signal_loss == 0
    assert not torch.allclose(clone_loss, scaffold_loss)

    config = TrainConfig(method="clone")
    backward(model, [(idx, signals, targets, signal_targets)], config, "cpu")
    assert model.signal_head.weight.grad is None
    assert model.signal_embedding.weight.grad is None
    grad = model.lm_head.weight.grad.clone()
    model.zero_grad()
    other_signals = (signals + 1) % len(SIGNALS)
    backward(model, [(idx, other_signals, targets, signal_targets)], config, "cpu")
    assert torch.equal(grad, model.lm_head.weight.grad)


def test_beta_is_none_of_the_clones(model, examples, tokenizer):
    """Its loss is that of the text alone, with its whole weight."""
    batch = collate(examples[:4], tokenizer)
    idx, _, targets, signal_targets = batch
    token_loss, _ = model(idx, None, targets, signal_targets)
    (expected,) = torch.autograd.grad(token_loss / (targets >= 0).sum(), [model.norm.weight])
    backward(model, [batch], TrainConfig(method="clone", beta=0.7), "cpu")
    torch.testing.assert_close(model.norm.weight.grad, expected)


def test_accumulated_gradients_equal_one_batch(model, examples, tokenizer):
    """Micro-batches of very different token counts weigh as much as their tokens."""
    eight = sorted(examples[:8], key=lambda e: len(e.ids))
    results = []
    for micro_batches in ([eight], [eight[:1], eight[1:3], eight[3:]]):
        model.zero_grad()
        batch = [collate(part, tokenizer) for part in micro_batches]
        losses = backward(model, batch, TrainConfig(beta=0.3), "cpu")
        results.append([losses] + [p.grad.clone() for p in model.parameters()])
    for one, many in zip(*results, strict=True):
        torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-6)


def test_batch_without_targets_costs_nothing(model):
    idx = torch.full((2, 4), 65)
    no_target = torch.full_like(idx, -1)
    no_signal = torch.full_like(idx, NO_SIGNAL)
    losses = backward(model, [(idx, no_signal, no_target, no_target)], TrainConfig(), "cpu")
    assert losses.tolist() == [0, 0]
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
def test_cached_equals_uncached_on_ragged_rows(model, examples, tokenizer):
    ids = [torch.from_numpy(examples[i].ids).long() for i in (0, 3, 5, 9)]
    uncached = [model.hidden(row[None])[0] for row in ids]  # (T, C) each
    lengths = [row.tolist().index(tokenizer.step_id) + 1 for row in ids]  # of the prompts
    assert len(set(lengths)) > 2

    cache = KVCache(model.config, len(ids), model.lm_head.weight)
    prompts = [row[:length] for row, length in zip(ids, lengths, strict=True)]
    idx = torch.nn.utils.rnn.pad_sequence(prompts, True, tokenizer.end_id)
    hidden = model.prefill(idx, torch.tensor(lengths), cache, torch.arange(len(ids)))
    for b, length in enumerate(lengths):
        expected = uncached[b][:length]
        torch.testing.assert_close(hidden[b, :length], expected, rtol=0, atol=1e-4)

    n_new = min(len(row) - 1 - length for row, length in zip(ids, lengths, strict=True))
    rows = [0, 1, 2, 3]
    for i in range(n_new):
        if i == n_new // 2:  # a finished row leaves in the middle
            cache.keep(torch.tensor([True, True, False, True]))
            rows.remove(2)
        newest = torch.tensor([ids[b][lengths[b] + i] for b in rows])
        hidden = model.next_hidden(newest, cache)
        expected = torch.stack([uncached[b][lengths[b] + i] for b in rows])
        torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-4)


def test_decoding_equals_the_naive_loop_alone_and_in_any_batch(student):
    model, tokenizer = student.model, student.tokenizer
    rows = prepare.rows(["object_counting", "boolean_expressions"], "test", 8)
    questions = [row["question"] for row, _ in rows]
    together = reason(model, tokenizer, questions, max_tokens=120)
    assert sum(len(r.steps) for r in together) > 20
    assert len({r.tokens for r in together}) > 1
    for question, reasoning in zip(questions, together, strict=True):
        (alone,) = reason(model, tokenizer, [question], max_tokens=120)
        assert alone.steps == reasoning.steps
        steps = [(step.signal, step.text) for step in reasoning.steps]
        assert steps == generate(model, tokenizer, question, max_tokens=120)


def test_decoding_ends_and_samples_by_seed(model, traces, tokenizer):
    questions = [traces[0].question]

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        options = {"temperature": 1.0, "top_k": 20, "max_tokens": 30, "generator": generator}
        return reason(model, tokenizer, questions, **options)[0]

    assert draw(1).steps == draw(1).steps != draw(2).steps
    assert draw(1).tokens <= 30
    (clone,) = reason(model, tokenizer, questions, method="clone", max_tokens=30)
    assert {step.signal for step in clone.steps} == {NO_SIGNAL}


def test_top_k_samples_among_the_k_most_probable():
    logits = torch.tensor([[3.0, 1.0, 2.0, 2.5]]).repeat(200, 1)  # (B, V)
    for top_k, drawn in ((1, {0}), (2, {0, 3}), (0, {0, 1, 2, 3}), (9, {0, 1, 2, 3})):
        generator = torch.Generator().manual_seed(0)
        decoding = Decoding(temperature=1.0, top_k=top_k, generator=generator)
        assert set(pick(logits, decoding).tolist()) == drawn


STRANGE_TEXTS = [
    "",
    " ",
    "\n\n ",
    "a" * 5000,
    "0123 456",
    f"{STEP} <|end|> <|endoftext|>",
    "e\u0301 ½ ² Ⅳ _x_ don't O’Neil",
    "\u202eabc\u200d👩‍👩‍👧",
    "\x00\x1b[31m",
]


def random_character(rng):
    """A character of ASCII, or of Unicode before or after the surrogates."""
    ranges = [(0x20, 0x7F), (0, 0xD800), (0xE000, 0x110000)]
    return chr(rng.randrange(*rng.choice(ranges)))


def test_a_vocabulary_is_of_the_most_frequent_pieces_that_recur():
    texts = ["often often twice", "often twice once"]
    assert Tokenizer.train(texts, 300).pieces == [" often", " twice"]
    assert Tokenizer.train(texts, 259).pieces == [" often"]  # after bytes and special tokens


def test_text_round_trip_on_any_unicode(tokenizer):
    rng = random.Random(0)
    random_texts = ["".join(random_character(rng) for _ in range(40)) for _ in range(300)]
    for text in STRANGE_TEXTS + random_texts:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert max(ids, default=0) < tokenizer.step_id  # text never becomes a special token


def test_digits_stand_alone_and_a_word_has_one_token(tokenizer):
    assert len(tokenizer.encode("1234")) == 4
    assert tokenizer.encode("lies") == tokenizer.encode("x lies")[-1:]


def test_batches_drop_nothing_and_pad_little(examples):
    many = examples * 5
    epoch = list(batches(many, 8, np.random.default_rng(0)))
    seen = [id(e) for batch in epoch for e in batch]
    assert sorted(seen) == sorted(id(e) for e in many)

    n_tokens = sum(len(e.ids) for e in many)
    n_padded = sum(max(len(e.ids) for e in batch) * len(batch) for batch in epoch)
    assert n_tokens / n_padded > 0.95

    lengths = [len(batch[0].ids) for batch in epoch]
    assert lengths != sorted(lengths)


def test_long_traces_are_dropped_and_counted(traces, tokenizer):
    kept, n_dropped = encode_all(traces, tokenizer, 150)
    assert n_dropped > 0
    assert len(kept) + n_dropped == len(traces)
    assert max(len(e.signals) for e in kept) <= 150


@pytest.mark.parametrize(
    "text, answer",
    [
        ("The answer is No.", "No"),
        ("So the answer is (B).", "(B)"),
        ("Final answer: 12.", "12"),
        ("This gives the answer ] }.", "] }"),
        ("The answer is True", "True"),
        ("I do not know.", None),
        ("The answer is", None),
        ("The answer: the answer is 3.", "3"),
    ],
)
def test_extract_answer(text, answer):
    assert extract(text) == answer


def test_padding_of_the_vocabulary_is_never_written(examples, tokenizer):
    """Rows that fill the embedding up to a round size are no tokens and have no logit."""
    torch.manual_seed(0)
    padding = -tokenizer.vocab_size % 64
    model = GPT(gpt_config(2, tokenizer.vocab_size, 1024, padding=padding)).eval()
    assert model.embed.weight.size(0) % 64 == 0
    assert model.config.step_id == tokenizer.step_id
    idx, *_ = collate(examples[:2], tokenizer)
    with torch.no_grad():
        model.lm_head.weight[tokenizer.vocab_size :] = 100.0
        logits = model.token_logits(model.hidden(idx))
    assert logits.size(-1) == tokenizer.vocab_size


def test_a_rounded_batch_has_the_losses_of_the_plain_one(examples, tokenizer):
    """Padded up to a multiple, as for compiled code, even beyond block_size."""
    plain = collate(examples[:5], tokenizer)
    rounded = collate(examples[:5], tokenizer, multiple=64)
    T = plain[0].size(1)
    assert T % 64 > 0
    assert rounded[0].size(1) % 64 == 0
    model = GPT(gpt_config(2, tokenizer.vocab_size, T))
    with torch.no_grad():
        for loss, rounded_loss in zip(model(*plain), model(*rounded), strict=True):
            torch.testing.assert_close(loss, rounded_loss, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("width, n_head", [(128, 4), (480, 15), (512, 8), (544, 17), (768, 12)])
def test_heads_are_twice_as_wide_from_width_512_on(width, n_head):
    """They have 32 channels, then 64, where these divide the width."""
    assert gpt_config(2, 300, 1024, width).n_head == n_head


@torch.no_grad()
def test_the_short_convolution_by_hand():
    """Row i of its weight weighs the token i + 1 places before."""
    conv = ShortConv(GPTConfig(300, n_embd=1, conv_width=4))
    conv.weight.copy_(torch.tensor([[0.1], [0.01], [0.001]]))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1)
    previous = torch.tensor([7.0, 8.0, 9.0]).view(1, 3, 1)
    y, joined = conv(x, previous)
    torch.testing.assert_close(y.flatten(), torch.tensor([1.987, 2.198, 3.219, 4.321]))
    assert joined.flatten().tolist() == [7, 8, 9, 1, 2, 3, 4]


def test_muon_has_the_matrices_of_the_blocks_and_adamw_all_else(model):
    muon, adamw = make_optimizers(model, 0.01, 0.003)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = []
    for optimizer in (muon, adamw):
        found.append([names[p] for group in optimizer.param_groups for p in group["params"]])
    layers = ("attn.qkv", "attn.proj", "mlp.gate_up", "mlp.down")
    matrices = {f"blocks.{i}.{layer}.weight" for i in range(2) for layer in layers}
    assert set(found[0]) == matrices
    assert sorted(found[0] + found[1]) == sorted(names.values())  # each of them once


def test_a_new_student_knows_no_signal_and_the_question_never_has_one(examples, tokenizer):
    """All signals start alike, as nothing; training moves them, but not the row of NO_SIGNAL."""
    model = GPT(gpt_config(2, tokenizer.vocab_size, 1024))
    embedding = model.signal_embedding.weight
    assert not embedding.any()
    backward(model, [collate(examples[:4], tokenizer)], TrainConfig(), "cpu")
    for optimizer in make_optimizers(model, 0.01, 0.003):
        optimizer.step()
    assert embedding[:NO_SIGNAL].any()
    assert not embedding[NO_SIGNAL].any()


def test_flops_utilisation_of_gpt2s_shape(monkeypatch):
    """About 0.855 GFLOP a token for 124M parameters at T = 1024; an H200 does 989 TFLOP/s."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    with torch.device("meta"):
        model = GPT(gpt_config(12, 50304, 1024, width=768))
    assert model.config.n_head == 12
    tokens_per_second = 0.4 * 989e12 / 0.855e9
    assert flops_utilisation(model, tokens_per_second, 1024) == pytest.approx(0.4, abs=0.01)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    assert flops_utilisation(model, 1e5, 1024) is None


def test_muon_steps_as_torchs_does():
    torch.manual_seed(0)
    shapes = [(12, 8), (8, 8), (12, 8), (8, 20)]  # tall, square, wide; two of a shape
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    optimizers = [Muon(ours, lr=0.01), torch.optim.Muon(theirs, lr=0.01, weight_decay=0.0)]
    for _ in range(3):
        before = [p.detach().clone() for p in ours]
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        for p, q, old in zip(ours, theirs, before, strict=True):
            difference = (p - q).norm() / (q - old).norm()
            assert difference < 0.05  # theirs rounds to bfloat16
