# Two parameters of this model never learn: `spare` is not called, and `gate` is cut by detach().
# After backward their .grad is None; in the graph they stand alone, without an edge.
import torch
from torch import nn


class TwoBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.gate = nn.Linear(8, 8)
        self.spare = nn.Linear(8, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        h = torch.relu(self.body(x))
        g = torch.sigmoid(self.gate(x)).detach()
        return self.head(h * g)


torch.manual_seed(0)
model = TwoBranches()
x = torch.randn(4, 8)

loss = model(x).square().mean()
loss.backward()

for name, parameter in model.named_parameters():
    print(f"{name}: {'no gradient' if parameter.grad is None else 'learns'}")
