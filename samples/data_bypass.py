# Writing through .data changes a leaf behind autograd's back: no op, no error, no trace.
# The graph is that of y = 2 * x, though x is 100 times larger when backward runs.
import torch

x = torch.ones(1, requires_grad=True)

y = 2 * x
x.data *= 100
y.backward()

print(f"x = {x.item()}, y = {y.item()}, dy/dx = {x.grad.item()}")
