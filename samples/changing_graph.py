# A small net that is trained for 40 steps. From step 17 on the loss has one more term, so that the
# graph is another one: `graphviz-cli watch changing_graph.py` says at which step, and how.
import torch
from torch import nn

torch.manual_seed(0)
x = torch.rand(64, 1)
y = torch.sin(6 * x)
encoder = nn.Sequential(nn.Linear(1, 32), nn.Tanh())
decoder = nn.Linear(32, 1)
parameters = [*encoder.parameters(), *decoder.parameters()]
optimizer = torch.optim.SGD(parameters, lr=0.1)

for step in range(1, 41):
    code = encoder(x)
    loss = (decoder(code) - y).square().mean()
    if step >= 17:
        loss = loss + 0.01 * code.abs().mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 0.5)
    optimizer.step()

print(f"loss = {loss.item():.4f}")
