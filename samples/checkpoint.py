# A checkpointed block keeps its input only and computes the rest once more during backward.
# The graph has the same ops as without; their saved tensors are placeholders.
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
first = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))
second = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))
x = torch.randn(32, 16)

h = first(x)
h = checkpoint(second, h, use_reentrant=False)
loss = h.square().mean()
loss.backward()

print(f"loss = {loss.item():.4f}")
