# backward() on a loss without history: "element 0 of tensors does not require grad".
# The prediction was detached, so nothing that the loss was computed from requires a gradient.
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(4, 1)
x, y = torch.randn(8, 4), torch.randn(8, 1)

prediction = model(x)
loss = (prediction.detach() - y).square().mean()
loss.backward()
