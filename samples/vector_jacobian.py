# backward() on a matrix needs a vector v of the same shape: it computes v^T J, never J itself.
# The view between y and z is a backward op of its own, although it copies nothing.
import torch

x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)

y = 2 * x
z = y.view(2, 2)
v = torch.tensor([[1.0, 0.1], [0.01, 0.001]])
z.backward(v)

print(f"v^T J = {x.grad}")
