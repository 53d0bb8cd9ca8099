# Weights are clipped, as for a Wasserstein critic: "a leaf Variable that requires grad is being
# used in an in-place operation". The change of a weight belongs under torch.no_grad().
import torch
from torch import nn

torch.manual_seed(0)
critic = nn.Linear(4, 1)

loss = critic(torch.randn(8, 4)).mean()
critic.weight.clamp_(-0.01, 0.01)
loss.backward()
