# Points that are pushed apart. Each has the distance 0 from itself, where the slope of the square
# root is infinite: `graphviz-cli check nan_gradient.py --backward` names the op and the line.
import torch

torch.manual_seed(0)
points = torch.randn(4, 2, requires_grad=True)

offsets = points[:, None] - points
distances = offsets.square().sum(-1).sqrt()
loss = torch.exp(-distances).mean()
loss.backward()

print(f"loss = {loss.item():.4f}, gradient = {points.grad.tolist()[0]}")
