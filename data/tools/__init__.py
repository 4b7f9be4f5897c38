"""What is neither the method nor its data, on two floors.

Below scaffold.py and model.py, which import some of them: terminal, flags, files, machine,
hf_tokenizer, pretrained, optimizers, kv_cache, memory.
Above what they use: traces, chat, figures, checkpoint, initial, evaluation, checks, the two pages.
"""
