# A value for a plot: "Can't call numpy() on Tensor that requires grad".
# detach() says that the gradient is not wanted there.
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(4, 1)

prediction = model(torch.randn(8, 4))
points = prediction.numpy()
