# The chain rule on z = (a + b) * (b - c): b is used twice, so two ways lead from z to b.
# Its gradient is the sum over both: dz/db = (b - c) + (a + b).
import torch

a = torch.tensor(2.0, requires_grad=True)
b = torch.tensor(3.0, requires_grad=True)
c = torch.tensor(1.0, requires_grad=True)

d = a + b
e = b - c
z = d * e
z.backward()

print(f"dz/da = {a.grad}, dz/db = {b.grad}, dz/dc = {c.grad}")
