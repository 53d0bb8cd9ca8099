# backward() without an argument wants a scalar: on a vector torch raises a RuntimeError.
# The graph is sound all the same, and is drawn; vector_jacobian.py shows the cure.
import torch

x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)

y = x**2
y.backward()
