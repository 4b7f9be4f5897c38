"""The method: what the student reads, what it must not see, both losses, decoding."""

import random

import numpy as np
import pytest
import torch

from data.algorithmic import prepare
from data.benchmarks.answers import extract
from data.tools.machine import flops_utilisation
from model import GPT, KVCache, gpt_config
from sample import reason
from scaffold import (
    NO_SIGNAL,
    SIGNAL_NAMES,
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
    a, b, c, d, e = (tok.encode(x)[0] for x in "abcde")
    step, end, N = tok.step_id, tok.end_id, NO_SIGNAL
    example = encode(Trace("a b", [Step(2, "c"), Step(5, "d e")], "e"), tok)
    assert example.ids.tolist() == [a, b, step, c, step, d, e, end]
    assert example.signals.tolist() == [NO_SIGNAL, NO_SIGNAL, 2, 2, 5, 5, 5]
    idx, signals, targets, signal_targets = collate(
        [example, encode(Trace("a", [Step(0, "b")], "b"), tok)], tok
    )
    assert idx.tolist() == [[a, b, step, c, step, d, e], [a, step, b, end, end, end, end]]
    assert signals.tolist() == [[N, N, 2, 2, 5, 5, 5], [N, 0, 0, N, N, N, N]]
    assert targets.tolist() == [[-1, -1, c, step, d, e, end], [-1, b, end, -1, -1, -1, -1]]
    assert signal_targets.tolist() == [[-1, -1, 2, -1, 5, -1, -1], [-1, 0, -1, -1, -1, -1, -1]]
    every = collate([example], tok, "every")[3]
    assert every.tolist() == [[-1, -1, 2, 2, 5, 5, 5]]


def test_only_the_question_is_masked(examples, tokenizer):
    for e in examples:
        first = e.ids.tolist().index(tokenizer.step_id)
        assert e.loss_mask.tolist() == [i >= first for i in range(len(e.signals))]


def test_boundary_cannot_see_its_step(model, examples, tokenizer):
    e = examples[3]
    idx, signals, *_ = collate([e], tokenizer)
    boundaries = (idx[0] == tokenizer.step_id).nonzero()[:, 0].tolist()
    before = model.signal_head(model.hidden(idx))
    for at in boundaries:
        other = idx.clone()
        other[0, at + 1 :] = (other[0, at + 1 :] + 5) % 256
        after = model.signal_head(model.hidden(other))
        assert torch.equal(before[0, : at + 1], after[0, : at + 1])
        if at + 1 < idx.size(1):
            assert not torch.equal(before[0, at + 1 :], after[0, at + 1 :])
        other = idx.clone()
        other[0, at] = 5  # what stands at the boundary itself does count
        assert not torch.equal(before[0, at], model.signal_head(model.hidden(other))[0, at])


def test_signal_conditions_its_own_step_only(model, examples, tokenizer):
    idx, signals, *_ = collate([examples[3]], tokenizer)
    before = model.token_logits(model.hidden(idx), signals)
    where = signals == signals[0, -1]
    after = model.token_logits(
        model.hidden(idx), torch.where(where, (signals + 1) % len(SIGNAL_NAMES), signals)
    )
    changed = (before != after).any(-1)
    assert torch.equal(changed, where)
    bare = model.token_logits(model.hidden(idx))
    assert torch.equal(bare[signals == NO_SIGNAL], before[signals == NO_SIGNAL])


def test_both_losses_against_plain_sums(model, examples, tokenizer):
    batch = collate(examples[:5], tokenizer)
    idx, signals, targets, signal_targets = batch
    token_loss, signal_loss = model(*batch)
    hidden, expected_token, expected_signal = model.hidden(idx), 0.0, 0.0
    logp = model.token_logits(hidden, signals).log_softmax(-1)
    slogp = model.signal_head(hidden).log_softmax(-1)
    for b in range(idx.size(0)):
        for t in range(idx.size(1)):
            if targets[b, t] >= 0:
                expected_token -= logp[b, t, targets[b, t]].item()
            if signal_targets[b, t] >= 0:
                expected_signal -= slogp[b, t, signal_targets[b, t]].item()
    assert token_loss.item() == pytest.approx(expected_token, rel=1e-4)
    assert signal_loss.item() == pytest.approx(expected_signal, rel=1e-4)


def test_clone_reads_no_signal(model, examples, tokenizer):
    idx, signals, targets, signal_targets = collate(examples[:4], tokenizer)
    clone, zero = model(idx, None, targets, signal_targets)
    assert zero == 0
    assert not torch.allclose(clone, model(idx, signals, targets, signal_targets)[0])
    config = TrainConfig(method="clone")
    backward(model, [(idx, signals, targets, signal_targets)], config, "cpu")
    assert model.signal_head.weight.grad is None and model.signal_embedding.weight.grad is None
    g = model.lm_head.weight.grad.clone()
    model.zero_grad()
    backward(model, [(idx, (signals + 1) % 7, targets, signal_targets)], config, "cpu")
    assert torch.equal(g, model.lm_head.weight.grad)


def test_accumulated_gradients_equal_one_batch(model, examples, tokenizer):
    eight = sorted(
        examples[:8], key=lambda e: len(e.ids)
    )  # micro-batches of very different token counts
    grads = []
    for micro in ([eight], [eight[:1], eight[1:3], eight[3:]]):
        model.zero_grad()
        losses = backward(
            model, [collate(m, tokenizer) for m in micro], TrainConfig(beta=0.3), "cpu"
        )
        grads.append([losses] + [p.grad.clone() for p in model.parameters()])
    for one, many in zip(*grads, strict=False):
        torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-6)


def test_batch_without_targets_costs_nothing(model, tokenizer):
    idx = torch.full((2, 4), 65)
    nothing = torch.full_like(idx, -1)
    losses = backward(
        model, [(idx, torch.full_like(idx, NO_SIGNAL), nothing, nothing)], TrainConfig(), "cpu"
    )
    assert losses.tolist() == [0, 0] and all(
        p.grad is None or p.grad.isfinite().all() for p in model.parameters()
    )


@torch.no_grad()
def test_cached_equals_uncached_on_ragged_rows(model, examples, tokenizer):
    picked = [examples[i] for i in (0, 3, 5, 9)]
    prompts = [int(np.flatnonzero(e.ids == tokenizer.step_id)[0]) + 1 for e in picked]
    assert len(set(prompts)) > 2
    n_new = min(len(e.signals) - p for e, p in zip(picked, prompts, strict=False))
    full = [model.hidden(torch.from_numpy(e.ids[None])) for e in picked]
    cache = KVCache(model.config, len(picked), model.lm_head.weight)
    idx = torch.full((len(picked), max(prompts)), tokenizer.end_id)
    for row, e, p in zip(idx, picked, prompts, strict=False):
        row[:p] = torch.from_numpy(e.ids[:p])
    h = model.prefill(idx, torch.tensor(prompts), cache, torch.arange(4))
    for b, p in enumerate(prompts):
        torch.testing.assert_close(h[b, :p], full[b][0, :p], rtol=0, atol=1e-4)
    rows = list(range(len(picked)))
    for i in range(n_new):
        if i == n_new // 2:  # a finished row leaves in the middle
            cache.keep(torch.tensor([True, True, False, True]))
            rows.remove(2)
        h = model.next_hidden(torch.tensor([picked[b].ids[prompts[b] + i] for b in rows]), cache)
        for k, b in enumerate(rows):
            torch.testing.assert_close(h[k], full[b][0, prompts[b] + i], rtol=0, atol=1e-4)


@torch.no_grad()
def naive_reason(model, tokenizer, question, max_tokens):
    """The oracle: one question, no cache, the whole text read again for every token."""
    ids, steps = tokenizer.encode(question) + [tokenizer.step_id], []
    for _ in range(max_tokens):
        h = model.hidden(torch.tensor([ids]))[0, -1]
        if ids[-1] == tokenizer.step_id:
            signal = model.signal_head(h).argmax()
            steps.append([int(signal), []])
        ids.append(int(model.token_logits(h, signal).argmax()))
        steps[-1][1].append(ids[-1])
        if ids[-1] == tokenizer.end_id:
            break
    return [(s, tokenizer.decode(t)) for s, t in steps]


def test_decoding_equals_the_naive_loop_alone_and_in_any_batch(student):
    model, tok = student.model, student.tokenizer
    questions = [
        r["question"]
        for r, _ in prepare.rows(["object_counting", "boolean_expressions"], "test", 8)
    ]
    together = reason(model, tok, questions, max_tokens=120)
    assert sum(len(r.steps) for r in together) > 20 and len({r.tokens for r in together}) > 1
    for q, r in zip(questions, together, strict=False):
        alone = [(s.signal, s.text) for s in reason(model, tok, [q], max_tokens=120)[0].steps]
        assert alone == [(s.signal, s.text) for s in r.steps] == naive_reason(model, tok, q, 120)


def test_decoding_ends_and_samples_by_seed(model, traces, tokenizer):
    def draw(seed):
        return reason(
            model,
            tokenizer,
            [traces[0].question],
            temperature=1.0,
            top_k=20,
            max_tokens=30,
            generator=torch.Generator().manual_seed(seed),
        )[0]

    assert draw(1).steps == draw(1).steps != draw(2).steps
    assert draw(1).tokens <= 30
    clone = reason(model, tokenizer, [traces[0].question], method="clone", max_tokens=30)[0]
    assert {s.signal for s in clone.steps} == {NO_SIGNAL}


def test_text_round_trip_on_any_unicode(tokenizer):
    rng = random.Random(0)
    samples = [
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
    for _ in range(300):
        samples.append(
            "".join(
                chr(c)
                for c in (
                    rng.choice(
                        (
                            rng.randrange(0x20, 0x7F),
                            rng.randrange(0xD800),
                            rng.randrange(0xE000, 0x110000),
                        )
                    )
                    for _ in range(40)
                )
            )
        )
    for text in samples:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert max(ids, default=0) < tokenizer.step_id  # text never becomes a special token


def test_digits_stand_alone_and_a_word_has_one_token(tokenizer):
    assert len(tokenizer.encode("1234")) == 4
    assert tokenizer.encode("lies") == tokenizer.encode("x lies")[-1:]


def test_batches_drop_nothing_and_pad_little(examples, tokenizer):
    many = examples * 5
    seen, padded, real = [], 0, 0
    epoch = list(batches(many, 8, np.random.default_rng(0)))
    for batch in epoch:
        seen += [id(e) for e in batch]
        padded += max(len(e.ids) for e in batch) * len(batch)
        real += sum(len(e.ids) for e in batch)
    assert sorted(seen) == sorted(id(e) for e in many)
    assert real / padded > 0.95
    lengths = [len(b[0].ids) for b in epoch]
    assert lengths != sorted(lengths)


def test_long_traces_are_dropped_and_counted(traces, tokenizer):
    kept, dropped = encode_all(traces, tokenizer, 150)
    assert (
        dropped > 0
        and len(kept) + dropped == len(traces)
        and max(len(e.signals) for e in kept) <= 150
    )


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
    model = GPT(
        gpt_config(2, tokenizer.vocab_size, 1024, padding=-tokenizer.vocab_size % 64)
    ).eval()
    assert model.embed.weight.size(0) % 64 == 0 and model.step_id == tokenizer.step_id
    with torch.no_grad():
        model.lm_head.weight[tokenizer.vocab_size :] = 100.0
        logits = model.token_logits(model.hidden(collate(examples[:2], tokenizer)[0]))
    assert logits.size(-1) == tokenizer.vocab_size


def test_a_rounded_batch_has_the_losses_of_the_plain_one(examples, tokenizer):
    """Padded up to a multiple, as for compiled code, even beyond block_size."""
    plain, rounded = collate(examples[:5], tokenizer), collate(examples[:5], tokenizer, multiple=64)
    assert rounded[0].size(1) % 64 == 0 and plain[0].size(1) % 64
    model = GPT(gpt_config(2, tokenizer.vocab_size, plain[0].size(1)))
    with torch.no_grad():
        for a, b in zip(model(*plain), model(*rounded), strict=False):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_flops_utilisation_of_gpt2s_shape(monkeypatch):
    """About 0.855 GFLOP a token for 124M parameters at T = 1024.

    An H200 at 40% then does 0.4 * 989e12 / 0.855e9 tokens/s.
    """
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    with torch.device("meta"):
        model = GPT(gpt_config(12, 50304, 1024, width=768))
    assert (
        model.config.n_head == 12
        and abs(flops_utilisation(model, 0.4 * 989e12 / 0.855e9, 1024) - 0.4) < 0.01
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    assert flops_utilisation(model, 1e5, 1024) is None
