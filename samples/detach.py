# detach() gives the same numbers without their history: autograd sees a constant from there on.
# The graph of z ends at the product; x**2 is computed, but no gradient flows through it.
import torch

x = torch.tensor(3.0, requires_grad=True)

y = x**2
z = y.detach() * x
z.backward()

print(f"dz/dx = {x.grad}: 9, where x**3 would give 27")
