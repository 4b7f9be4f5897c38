"""Published models: the logits and texts of transformers, wrong folders, fine-tuning, export."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import annotate
import sample
import train
from data.algorithmic import prepare
from data.tools import memory
from data.tools.checkpoint import load_student, read_checkpoint
from data.tools.files import read_jsonl, write_jsonl
from data.tools.flags import UserError
from data.tools.kv_cache import KVCache
from data.tools.optimizers import FineTuning
from model import GPT, GPTConfig, gpt_config, summed_loss
from scaffold import Tokenizer, collate

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = FIXTURES / "models"
NAMES = ["qwen2", "qwen3", "smollm2", "llama3"]


def expected_of(name):
    """The prompt (1, 40), its logits (1, 40, V), and 64 greedy tokens, by transformers."""
    expected = load_file(MODELS / name / "expected.safetensors")
    return expected["prompt"], expected["logits"], expected["greedy"]


def logits_of(model, idx):
    with torch.no_grad():
        return model.token_logits(model.hidden(idx))


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_published_ones(name):
    prompt, logits, _ = expected_of(name)
    ours = logits_of(GPT.from_pretrained(MODELS / name), prompt)
    torch.testing.assert_close(ours, logits, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_greedy_text_with_the_cache_is_the_published_one(name):
    prompt, _, greedy = expected_of(name)
    model = GPT.from_pretrained(MODELS / name)
    cache = KVCache(model.config, 1, model.lm_head.weight)
    hidden = model.prefill(prompt, torch.tensor([40]), cache, torch.tensor([0]))[:, -1]
    tokens = []
    for _ in range(64):
        tokens.append(model.token_logits(hidden).argmax(-1))  # (1,)
        hidden = model.next_hidden(tokens[-1], cache)
    assert torch.stack(tokens, dim=1).tolist() == greedy.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_reads_the_same(name, tmp_path):
    prompt, logits, _ = expected_of(name)
    GPT.from_pretrained(MODELS / name).save_pretrained(tmp_path)
    again = GPT.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(again, prompt), logits, atol=1e-4, rtol=0)
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == 59


@pytest.mark.parametrize("name", NAMES)
def test_transformers_opens_what_is_written(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    prompt, logits, greedy = expected_of(name)
    GPT.from_pretrained(MODELS / name, end_id=int(greedy[0, 9])).save_pretrained(tmp_path)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(info.values())
    with torch.no_grad():
        torch.testing.assert_close(theirs(prompt).logits, logits, atol=1e-4, rtol=0)
    written = theirs.generate(prompt, do_sample=False, max_new_tokens=64)[0, 40:].tolist()
    n = greedy[0].tolist().index(int(greedy[0, 9])) + 1
    assert written == greedy[0, :n].tolist()  # it stops at the end token


def test_settings_as_transformers_4_wrote_them(tmp_path):
    prompt, logits, _ = expected_of("llama3")
    shutil.copytree(MODELS / "llama3", tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    del config["head_dim"], config["mlp_bias"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = logits_of(GPT.from_pretrained(tmp_path), prompt)
    torch.testing.assert_close(ours, logits, atol=1e-4, rtol=0)


def test_new_tokens_begin_as_the_mean():
    class TwoNewTokens:
        vocab_size, step_id, end_id = 61, 58, 60  # a spare row, and one that the file lacks

    prompt, logits, _ = expected_of("qwen3")
    model = GPT.from_pretrained(MODELS / "qwen3", TwoNewTokens)
    published = GPT.from_pretrained(MODELS / "qwen3")
    for ours, theirs in [(model.embed, published.embed), (model.lm_head, published.lm_head)]:
        assert not torch.equal(theirs.weight[58], theirs.weight.mean(0))
        torch.testing.assert_close(ours.weight[58], theirs.weight.mean(0))
        torch.testing.assert_close(ours.weight[60], theirs.weight.mean(0))
    prompt = prompt.where(prompt != 58, 0)
    others = [i for i in range(60) if i != 58]
    ours, theirs = logits_of(model, prompt), logits_of(published, prompt)
    assert torch.equal(ours[..., others], theirs[..., others])
    assert (model.config.step_id, model.config.end_id) == (58, 60)


# -------------------------------------------------------------------------------- wrong folders
def change_config(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        config |= changes
        config = {name: value for name, value in config.items() if value != "gone"}
        (folder / "config.json").write_text(json.dumps(config))

    return change


def change_weights(file, name, change):
    def apply(folder):
        weights = load_file(folder / file)
        weights[name] = change(weights.get(name))
        save_file(weights, folder / file)

    return apply


def cut_off(file):
    def cut(folder):
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: len(data) // 2])

    return cut


NORM = "model.norm.weight"
BIAS = "model.layers.0.self_attn.o_proj.bias"
WRONG = [
    ("qwen2", change_config(architectures=["GemmaForCausalLM"]), "GemmaForCausalLM"),
    ("qwen2", change_config(hidden_act="gelu"), "hidden_act 'gelu'"),
    ("qwen2", change_config(use_sliding_window=True), "use_sliding_window True"),
    ("qwen2", change_config(rope_parameters={"rope_type": "yarn", "rope_theta": 1.0}), "'yarn'"),
    ("qwen2", change_config(quantization_config={"bits": 4}), "quantization_config"),
    ("qwen2", change_config(hidden_size="gone"), "'hidden_size' is missing"),
    ("qwen2", change_config(architectures=[]), "IndexError"),
    ("llama3", change_config(attention_bias=True), "attention_bias True"),
    ("llama3", cut_off("config.json"), "JSONDecodeError"),
    ("llama3", cut_off("model.safetensors"), "SafetensorError"),
    ("llama3", lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    ("qwen3", lambda folder: (folder / "model-00002-of-00004.safetensors").unlink(), "00002"),
    ("qwen3", lambda folder: (folder / "config.json").unlink(), "No such file"),
    ("llama3", change_weights("model.safetensors", NORM, lambda w: w[:5]), f"{NORM}: [5]"),
    ("llama3", change_weights("model.safetensors", BIAS, lambda w: torch.ones(32)), BIAS),
    ("llama3", change_config(num_hidden_layers=3), "model.layers.2"),
    ("qwen2", change_config(architectures=["LlamaForCausalLM"]), "_proj.bias is no part"),
    ("qwen2", change_config(vocab_size=59), "embed_tokens"),
]


@pytest.mark.parametrize(("name", "spoil", "message"), WRONG)
def test_a_wrong_folder_is_one_line(name, spoil, message, tmp_path):
    shutil.copytree(MODELS / name, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path)
    with pytest.raises(UserError) as error:
        GPT.from_pretrained(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_nobody_has(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="nobody/nothing: no such folder"):
        GPT.from_pretrained("nobody/nothing")


@pytest.mark.parametrize(
    "form", [{}, {"conv_width": 1}, {"embed_scale": 1.0}, {"qkv_bias": True, "conv_width": 1}]
)
def test_what_no_published_architecture_computes_is_not_written(form, tmp_path):
    with pytest.raises(UserError, match="not written"):
        GPT(GPTConfig(60, n_embd=32, **form)).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------- fine-tuning
def test_new_rows_have_a_rate_of_their_own():
    torch.manual_seed(0)
    model = GPT(gpt_config(1, 300, 64))
    theirs = GPT(gpt_config(1, 300, 64))
    theirs.load_state_dict(model.state_dict())
    before = model.embed.weight.detach().clone()
    ours = FineTuning(model, lr=0.001, new_lr=0.01)
    plain = torch.optim.AdamW(theirs.parameters(), 0.001, betas=(0.9, 0.95), weight_decay=0.0)
    for p, q in zip(model.parameters(), theirs.parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    ours.step()
    plain.step()
    moved, moved_plain = model.embed.weight - before, theirs.embed.weight - before
    torch.testing.assert_close(moved[:298], moved_plain[:298])
    torch.testing.assert_close(moved[298:], 10 * moved_plain[298:], atol=1e-6, rtol=1e-3)
    assert torch.equal(model.blocks[0].attn.qkv.weight, theirs.blocks[0].attn.qkv.weight)
    assert (model.signal_head.bias.abs().max() / theirs.signal_head.bias.abs().max()) > 9


@pytest.mark.parametrize("squared", [False, True])
def test_the_loss_in_chunks_is_the_loss(squared, monkeypatch):
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=False)
    hidden = torch.randn(3, 7, 8, requires_grad=True)
    targets = torch.randint(-1, 50, (3, 7))
    results = []
    for limit in (10**9, 120):  # all at once; two positions at a time
        monkeypatch.setattr("model.LOGITS_AT_ONCE", limit)
        monkeypatch.setattr(memory, "LOGITS_AT_ONCE", limit)
        loss = summed_loss(head, hidden, targets, squared)
        results.append([loss, *torch.autograd.grad(loss, [hidden, head.weight])])
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(whole, chunked)


def test_activations_made_anew_give_the_same_gradients(model, examples, tokenizer):
    batch = collate(examples[:3], tokenizer)
    gradients = []
    for recompute in (False, True):
        model.recompute = recompute
        model.zero_grad()
        sum(model(*batch)).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_forecast_of_activations():
    """Against what the framework keeps for the gradient, in float32."""
    c = GPTConfig(1000, 512, 4, 4, 2, 256, 768, 64, qk_norm=False, conv_width=1)
    model = GPT(c)
    weights = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.hidden(torch.randint(0, 1000, (2, 256)))
    measured = sum(size for size, _ in kept.values())
    forecast = memory.kept_bytes(c, bytes_of_a_product=4) * c.n_layer * 2 * 256
    assert 0.8 < forecast / measured < 1.1


# ------------------------------------------------------------------------------------- end to end
@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a random Qwen2 of four layers, with a tokenizer."""
    folder = tmp_path_factory.mktemp("qwen2")
    shutil.copy(FIXTURES / "tokenizers" / "qwen.json", folder / "tokenizer.json")
    torch.manual_seed(0)
    n_rows = Tokenizer.from_pretrained(folder).vocab_size + 6  # some are spare, as Qwen's are
    shape = {"n_layer": 4, "n_head": 4, "n_kv_head": 2, "n_embd": 64, "n_hidden": 96}
    form = {"qk_norm": False, "qkv_bias": True, "embed_scale": 1.0, "conv_width": 1}
    GPT(GPTConfig(n_rows, 1024, **shape, **form)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def own_traces(tmp_path_factory):
    """A file of annotated traces, for each of the three splits."""
    raw = tmp_path_factory.mktemp("data") / "raw.jsonl"
    sizes = {"train": 48, "val": 8, "test": 3}
    pairs = [p for s, n in sizes.items() for p in prepare.rows(["object_counting"], s, n)]
    write_jsonl(raw, [row for row, _ in pairs])
    annotate.main([str(raw), str(raw.with_name("annotated.jsonl"))])
    return raw.with_name("annotated.jsonl")


@pytest.mark.slow
def test_from_a_folder_to_a_folder(published, own_traces, tmp_path, stop_in, capsys):
    """Fine-tuned with signals, stopped and resumed, asked, scored, and opened by transformers."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = f"--init {published} --data {own_traces} --adam_lr 0.003 --epochs 4 --eval_interval 4"
    flags += " --block_size 500 --n_test 1"
    train.main([*flags.split(), "--out_dir", str(whole)])
    assert "memory: about" in capsys.readouterr().out
    stop_in(6)
    with pytest.raises(KeyboardInterrupt):
        train.main([*flags.split(), "--out_dir", str(parts)])
    train.main(["--resume", "--out_dir", str(parts)])
    ours, theirs = read_checkpoint(whole / "ckpt.pt"), read_checkpoint(parts / "ckpt.pt")
    assert all(torch.equal(ours["model"][name], theirs["model"][name]) for name in ours["model"])

    losses = [m for m in read_jsonl(whole / "metrics.jsonl") if m["split"] == "val"]
    assert losses[-1]["token_loss"] < 0.7 * losses[0]["token_loss"]
    question = read_jsonl(own_traces)[0]["question"]
    sample.main(["--ckpt", str(whole / "ckpt.pt"), question])
    sample.main(["--ckpt", str(whole / "ckpt.pt"), "--eval", str(own_traces), "--n", "3"])
    assert len(read_jsonl(whole / "eval-annotated.jsonl")) == 3

    student = load_student(whole / "ckpt.pt", "cpu")
    idx = torch.tensor([student.tokenizer.encode_question(question)])
    exported = GPT.from_pretrained(whole / "hf")
    assert torch.equal(logits_of(exported, idx), logits_of(student.model, idx))
    assert Tokenizer.from_pretrained(whole / "hf").encode(question) == idx[0].tolist()


def test_the_best_student_is_kept(published, own_traces, tmp_path):
    """At a rate that ruins it the student of the first validation is what is left."""
    flags = f"--init {published} --data {own_traces} --adam_lr 3 --epochs 1 --eval_interval 2"
    train.main([*flags.split(), "--n_test", "0", "--out_dir", str(tmp_path)])
    kept = load_student(tmp_path / "ckpt.pt", "cpu").model
    first = GPT.from_pretrained(published, Tokenizer.from_pretrained(published))
    assert torch.equal(kept.embed.weight, first.embed.weight)
    assert not (tmp_path / "best.pt").exists()


def test_step_zero_is_the_published_model(published):
    """But for <|step|> and <|end|>: conditioned on any signal, all other logits are published."""
    tokenizer = Tokenizer.from_pretrained(published)
    model = GPT.from_pretrained(published, tokenizer, conditioning="input")
    plain = GPT.from_pretrained(published)
    idx = torch.tensor([tokenizer.encode("How many of the things that I have are animals?")])
    signals = torch.full_like(idx, 3)
    with torch.no_grad():
        hidden = model.hidden(idx, model.input_signals(idx, signals))
        ours = model.token_logits(hidden, signals)
    new = [tokenizer.step_id, tokenizer.end_id]
    others = [i for i in range(plain.config.vocab_size) if i not in new]
    assert torch.equal(ours[..., others], logits_of(plain, idx)[..., others])


def test_from_a_student_of_ours(trained, tmp_path):
    """Its words and weights go on; a head of other classes begins anew."""
    before = load_student(trained / "ckpt.pt", "cpu")
    flags = "--n_train 60 --n_val 0 --n_test 0 --max_steps 1 --muon_lr 1e-9 --adam_lr 1e-9"
    flags += " --tasks object_counting --classes 14 --conditioning token"
    train.main([*flags.split(), "--init", str(trained / "ckpt.pt"), "--out_dir", str(tmp_path)])
    after = load_student(tmp_path / "ckpt.pt", "cpu")
    assert after.tokenizer.pieces == before.tokenizer.pieces
    torch.testing.assert_close(after.model.embed.weight, before.model.embed.weight)
    assert after.model.signal_head.bias.shape == (14,)
    assert after.model.config.conditioning == "token"


def test_what_a_run_starts_from_is_not_overwritten(trained, tmp_path):
    with pytest.raises(UserError, match="lies in --out_dir"):
        train.main(["--init", str(trained / "ckpt.pt"), "--out_dir", str(trained)])


def test_a_start_has_its_own_shape(trained, tmp_path, capsys):
    argv = ["--init", str(trained / "ckpt.pt"), "--depth", "3", "--out_dir", str(tmp_path / "out")]
    with pytest.raises(UserError, match="brings its own shape and words"):
        train.main(argv)


def test_a_start_of_other_signals_is_one_line(trained, tmp_path):
    checkpoint = read_checkpoint(trained / "ckpt.pt")
    name = "signal_embedding.weight"
    checkpoint["model"][name] = torch.cat([checkpoint["model"][name], torch.zeros(2, 64)])
    torch.save(checkpoint, tmp_path / "other.pt")
    flags = "--n_train 60 --n_val 0 --n_test 0 --max_steps 1 --tasks object_counting".split()
    argv = [*flags, "--init", str(tmp_path / "other.pt"), "--out_dir", str(tmp_path / "out")]
    with pytest.raises(UserError, match="other.pt: "):
        train.main(argv)


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        train.main(["--init", str(tmp_path / "no.pt"), "--out_dir", str(tmp_path / "out")])
