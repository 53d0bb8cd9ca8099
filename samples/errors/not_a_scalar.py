# backward() on several losses at once: "grad can be implicitly created only for scalar outputs".
# reduction="none" keeps one loss for each example, and somebody forgot to average them.
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(4, 3)
x, y = torch.randn(8, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])

losses = nn.functional.cross_entropy(model(x), y, reduction="none")
losses.backward()
