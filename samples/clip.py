# clip() in the forward pass is an op of the graph: what lies outside its limits gets gradient 0.
# Clipping the gradients after backward is no part of any graph.
import torch

w = torch.tensor([0.5, 2.0, -3.0], requires_grad=True)

y = w.clip(-1.0, 1.0)
loss = (10 * y).sum()
loss.backward()
print(f"gradient: {w.grad}")

norm = torch.nn.utils.clip_grad_norm_([w], max_norm=1.0)
print(f"clipped from norm {norm} to {w.grad}")
