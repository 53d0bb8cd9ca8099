# An op saved its output, and += changes it: "modified by an inplace operation".
# exp() needs its result for the gradient, so the sum must be a new tensor.
import torch

w = torch.ones(3, requires_grad=True)

y = w.exp()
y += 1
loss = y.sum()
loss.backward()
