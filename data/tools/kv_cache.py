"""What decoding remembers: the keys and values of the tokens so far."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class LayerCache(nn.Module):
    """One layer's part of the KVCache: buffers with one row for each row of the batch."""

    def __init__(self, c, batch_size, length, like):
        super().__init__()
        keys = like.new_zeros(batch_size, c.n_kv_head, length, c.head_size)
        self.register_buffer("k", keys)  # (B, nkv, L, hs)
        self.register_buffer("v", torch.zeros_like(keys))  # (B, nkv, L, hs)
        recent = like.new_zeros(batch_size, c.conv_width - 1, c.n_embd)
        self.register_buffer("recent", recent)  # newest inputs of the short convolution


class KVCache(nn.Module):
    """Keys and values of the tokens so far; rows may be of different lengths.

    Row b's token at position p sits in slot p. What lies beyond a row's length is masked until it
    is overwritten. The cache grows as it is used, and attention reads as far as the longest row.

    With static_length it has that many slots from the start, and all of them are read: a CUDA graph
    must meet the same shapes in the same memory at every token. It is a module because
    torch.compile takes a module's buffers to stay where they are.
    """

    def __init__(self, config, batch_size, like, static_length=0):
        """like: a tensor of the device and dtype that the cache should have."""
        super().__init__()
        self.is_static = static_length > 0
        layers = [
            LayerCache(config, batch_size, static_length, like) for _ in range(config.n_layer)
        ]
        self.layers = nn.ModuleList(layers)
        lengths = torch.zeros(batch_size, dtype=torch.long, device=like.device)
        self.register_buffer("lengths", lengths)  # (B,) tokens of each row

    def reserve(self, length, block=128):
        """Make room for so many positions, block by block."""
        missing = length - self.layers[0].k.size(2)
        if missing > 0:
            extra = -(-missing // block) * block
            for layer in self.layers:
                layer.k = F.pad(layer.k, (0, 0, 0, extra))
                layer.v = F.pad(layer.v, (0, 0, 0, extra))

    def keep(self, rows):
        """Drop all rows but these (a mask or an index): a finished row costs nothing more."""
        for module in self.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer[rows])
