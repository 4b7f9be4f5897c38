"""What is neither the method nor its data, on two floors.

Below scaffold.py and model.py, which import some of them: terminal, flags, files, machine,
hf_tokenizer, pretrained, optimizers, kv_cache, memory. Above both, free to import them: the others.
"""
