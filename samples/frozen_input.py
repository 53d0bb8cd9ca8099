# A tensor that does not require a gradient is no part of autograd's graph, though it is multiplied
# in. Compare with linear.py: x is a constant now, and its edge carries no gradient.
import torch

w = torch.tensor(3.0, requires_grad=True)
x = torch.tensor(2.0)
b = torch.tensor(1.0, requires_grad=True)

h = w * x + b
h.backward()

print(f"dh/dw = {w.grad}, dh/dx = {x.grad}, dh/db = {b.grad}")
