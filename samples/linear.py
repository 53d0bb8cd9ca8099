# One neuron without its activation: h = w * x + b.
# Three leaves, two backward ops and one root are the smallest graph worth a picture.
import torch

w = torch.tensor(3.0, requires_grad=True)
x = torch.tensor(2.0, requires_grad=True)
b = torch.tensor(1.0, requires_grad=True)

h = w * x + b
h.backward()

print(f"dh/dw = {w.grad}, dh/dx = {x.grad}, dh/db = {b.grad}")
