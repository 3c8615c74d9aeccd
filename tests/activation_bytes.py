"""Counts what PyTorch holds, on tensors without data: sizes of real models, no arithmetic, no GPU."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class HeldBytes(TorchDispatchMode):
    """Within it, `peak` is the most bytes of new tensors that were alive at once; `known` are not counted."""

    def __init__(self, known=()):
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.held = {}
        self.live = self.peak = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor.untyped_storage())
        return result

    def count(self, storage) -> None:
        address = storage._cdata
        if address in self.known or address in self.held:
            return
        self.held[address] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.forget, address)

    def forget(self, address) -> None:
        self.live -= self.held.pop(address, 0)


class MemoryEfficientAttention(torch.autograd.Function):
    """Attention as far as memory goes: keeps query, key, value, its answer and one number for each query and head."""

    @staticmethod
    def forward(context, query, key, value, heads):
        answer = torch.empty_like(query)
        sums = query.new_empty(query.shape[0], heads, query.shape[1], dtype=torch.float32)
        context.save_for_backward(query, key, value, answer, sums)
        return answer

    @staticmethod
    def backward(context, gradient):
        query, key, value, *_ = context.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None
